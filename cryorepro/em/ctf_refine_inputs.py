"""What a CTF refinement starts from: the half maps (or one map), the shells they hold signal in, and micrographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.ctf_refine import Micrograph
from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.fsc import crossing, fsc_curve, masked_fsc
from cryorepro.em.particle_images import ParticleImages, read_matching_map

THRESHOLD = 0.143
_PARTICLES_TOGETHER = 100


@dataclass(frozen=True)
class References:
    """Masked maps ``[n, n, n]``, which of them each particle is held against, and the last shell with signal."""

    maps: list[Tensor]
    map_of: Tensor
    last_shell: int


def read_references_of(
    inputs: Mapping[str, Path], loaded: ParticleImages, generator: np.random.Generator
) -> References:
    """The maps named by the stage's inputs.

    ``half1`` and ``half2`` are taken, or else the half maps that ``postprocess`` names, or else ``map``. A particle
    is held against the map of its own half (rlnRandomSubset), as in RELION. Shells count up to where the halves'
    FSC inside ``mask`` falls below 0.143, or that of ``postprocess``; with one map all shells count.

    Raises:
        InputError: no map is given, a map does not fit the particles, the half of a particle is not known, or the
            halves do not correlate.
    """
    box, pixel = loaded.images.box_px, loaded.images.pixel_size_angstrom
    paths = dict(inputs)
    tables = read_star(inputs["postprocess"]) if "postprocess" in inputs else {}
    for role in ("half1", "half2"):
        if role not in paths and tables:
            paths[role] = _named_map(inputs["postprocess"], tables, role)
    mask = read_matching_map(paths["mask"], box, pixel) if "mask" in paths else torch.ones(box, box, box)
    if "half1" in paths and "half2" in paths:
        halves = [read_matching_map(paths[role], box, pixel) for role in ("half1", "half2")]
        curve = _table_curve(inputs["postprocess"], tables, box) if tables else _curve(halves, mask, generator)
        return References([half * mask for half in halves], _halves(loaded.particles), _last_shell(curve))
    if "map" not in paths:
        raise InputError(f"{loaded.particles.source}: give inputs half1 and half2, or postprocess, or map.")
    volume = read_matching_map(paths["map"], box, pixel) * mask
    return References([volume], torch.zeros(len(loaded.images), dtype=torch.int64), box // 2 - 1)


def micrographs_of(particles: Particles, astigmatism: bool = True) -> list[Micrograph]:
    """Particles grouped by rlnMicrographName and optics group.

    Raises:
        InputError: rlnMicrographName is missing and astigmatism is to be fitted; without, any division will do.
    """
    group = particles.optics_index
    if astigmatism or "rlnMicrographName" in particles.columns:
        _, number = np.unique(particles.column("rlnMicrographName").astype(str), return_inverse=True)
    else:
        number = np.arange(len(particles)) // _PARTICLES_TOGETHER
    keys, member = np.unique(np.stack([number.reshape(-1), group]), axis=1, return_inverse=True)
    order = np.argsort(member.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(member.reshape(-1)))[:-1]
    rows = [torch.from_numpy(part) for part in np.split(order, ends)]
    return [Micrograph(index, int(keys[1, place])) for place, index in enumerate(rows)]


def _named_map(star: Path, tables: Mapping[str, StarBlock], role: str) -> Path:
    """A half map that ``postprocess.star`` names, looked for beside it and in the directories above (a project)."""
    label = f"rlnUnfilteredMap{role.capitalize()}"
    if "general" not in tables or label not in tables["general"].columns:
        raise InputError(f"{star}: column {label} is missing from data_general.")
    name = tables["general"].value(label)
    for directory in star.absolute().parents:
        if (directory / name).is_file():
            return directory / name
    raise InputError(f"{star}: {label} names {name}, which does not exist.")


def _table_curve(
    star: Path, tables: Mapping[str, StarBlock], box_px: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if "fsc" not in tables:
        raise InputError(f"{star}: the table data_fsc is missing.")
    curve = tables["fsc"].numbers("rlnFourierShellCorrelationCorrected")
    if len(curve) != box_px // 2 + 1:
        raise InputError(f"{star}: the FSC has {len(curve)} shells, not {box_px // 2 + 1}.")
    return curve


def _curve(
    halves: list[Tensor], mask: Tensor, generator: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    first, second = (half.double().numpy() for half in halves)
    plain = fsc_curve(first, second)
    if not crossing(plain, 0.8).crossed or bool((mask == 1.0).all()):
        return plain
    return masked_fsc(first, second, mask.double().numpy(), generator).corrected


def _last_shell(curve: np.ndarray[tuple[int], np.dtype[np.float64]]) -> int:
    shell = min(crossing(curve, THRESHOLD).shell, len(curve) - 2)
    if shell < 1:
        raise InputError("the half maps do not correlate: their FSC is below 0.143 in the first shell")
    return shell


def _halves(particles: Particles) -> Tensor:
    halves = particles.column("rlnRandomSubset")
    if not set(np.unique(halves).tolist()) <= {1, 2}:
        raise InputError(f"{particles.source}: rlnRandomSubset must hold 1 and 2, and nothing else.")
    return torch.from_numpy(np.asarray(halves, dtype=np.int64) - 1)
