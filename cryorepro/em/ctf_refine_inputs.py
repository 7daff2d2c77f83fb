"""What a CTF refinement starts from: particles by micrograph, half maps or one map, the shells they hold signal in.

Nothing here or in what it leads to imports torch, which would take more CPU time than a thousand particles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cryorepro.em.aberrations import without_beam_tilt
from cryorepro.em.checked_stack import matching_map, open_checked_stack
from cryorepro.em.ctf_refine_optics import Optics
from cryorepro.em.ctf_refine_plane import Floats, Singles, Whole
from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.fsc import crossing, fsc_curve, masked_fsc

if TYPE_CHECKING:
    from cryorepro.em.imageset import ImageSource

THRESHOLD = 0.143
_PARTICLES_TOGETHER = 100


@dataclass(frozen=True)
class PosedParticles:
    """n particles whose poses are known.

    Attributes:
        particles: the table.
        source: their images, without the beam tilt the table states.
        box_px, pixel_size_angstrom: of the images.
        euler_deg: ``[n, 3]`` (rot, tilt, psi).
        origin_px: ``[n, 2]`` (x, y), the shift that centres the particle.
        optics: the CTFs the table states.
    """

    particles: Particles
    source: ImageSource
    box_px: int
    pixel_size_angstrom: float
    euler_deg: Floats
    origin_px: Floats
    optics: Optics

    def __len__(self) -> int:
        """Number of particles."""
        return len(self.euler_deg)


@dataclass(frozen=True)
class Micrograph:
    """Particles of one micrograph and one optics group (position in the table of groups)."""

    index: Whole
    group: int


@dataclass(frozen=True)
class References:
    """Masked maps ``[n, n, n]``, which of them each particle is held against, and the last shell with signal."""

    maps: list[Singles]
    map_of: Whole
    last_shell: int


def open_posed_particles(star: Path) -> PosedParticles:
    """Open a particle STAR file and its stacks; pixels are read when they are needed, without their beam tilt.

    Raises:
        InputError: as `open_checked_stack`, or a column of the CTF or of angles is missing.
    """
    particles, stack = open_checked_stack(star)
    particles.column("rlnAngleRot")
    pixel = particles.pixel_size_angstrom
    return PosedParticles(
        particles=particles,
        source=without_beam_tilt(stack, particles, stack.box_px),
        box_px=stack.box_px,
        pixel_size_angstrom=pixel,
        euler_deg=np.asarray(particles.angles_degrees, dtype=np.float64),
        origin_px=np.asarray(particles.origins_angstrom, dtype=np.float64) / pixel,
        optics=Optics.of(particles),
    )


def read_references_of(
    inputs: Mapping[str, Path], loaded: PosedParticles, generator: np.random.Generator
) -> References:
    """The maps named by the stage's inputs.

    ``half1`` and ``half2`` are taken, or else the half maps that ``postprocess`` names, or else ``map``. A particle
    is held against the map of its own half (rlnRandomSubset), as in RELION. Shells count up to where the halves'
    FSC inside ``mask`` falls below 0.143, or that of ``postprocess``; with one map all shells count.

    Raises:
        InputError: no map is given, a map does not fit the particles, the half of a particle is not known, or the
            halves do not correlate.
    """
    box, pixel = loaded.box_px, loaded.pixel_size_angstrom
    paths = dict(inputs)
    tables = read_star(inputs["postprocess"]) if "postprocess" in inputs else {}
    for role in ("half1", "half2"):
        if role not in paths and tables:
            paths[role] = _named_map(inputs["postprocess"], tables, role)
    mask = matching_map(paths["mask"], box, pixel) if "mask" in paths else None
    if "half1" in paths and "half2" in paths:
        halves = [matching_map(paths[role], box, pixel) for role in ("half1", "half2")]
        curve = _table_curve(inputs["postprocess"], tables, box) if tables else _curve(halves, mask, generator)
        return References([_masked(half, mask) for half in halves], _halves(loaded.particles), _last_shell(curve))
    if "map" not in paths:
        raise InputError(f"{loaded.particles.source}: give inputs half1 and half2, or postprocess, or map.")
    volume = _masked(matching_map(paths["map"], box, pixel), mask)
    return References([volume], np.zeros(len(loaded), dtype=np.int64), box // 2 - 1)


def _masked(volume: Singles, mask: Singles | None) -> Singles:
    return volume if mask is None else volume * mask


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
    rows = np.split(order, ends)
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


def _table_curve(star: Path, tables: Mapping[str, StarBlock], box_px: int) -> Floats:
    if "fsc" not in tables:
        raise InputError(f"{star}: the table data_fsc is missing.")
    curve = tables["fsc"].numbers("rlnFourierShellCorrelationCorrected")
    if len(curve) != box_px // 2 + 1:
        raise InputError(f"{star}: the FSC has {len(curve)} shells, not {box_px // 2 + 1}.")
    return curve


def _curve(halves: list[Singles], mask: Singles | None, generator: np.random.Generator) -> Floats:
    first, second = halves
    plain = fsc_curve(first, second)
    if mask is None or not crossing(plain, 0.8).crossed or bool((mask == 1.0).all()):
        return plain
    return masked_fsc(first, second, mask, generator).corrected


def _last_shell(curve: Floats) -> int:
    shell = min(crossing(curve, THRESHOLD).shell, len(curve) - 2)
    if shell < 1:
        raise InputError("the half maps do not correlate: their FSC is below 0.143 in the first shell")
    return shell


def _halves(particles: Particles) -> Whole:
    halves = particles.column("rlnRandomSubset")
    if not set(np.unique(halves).tolist()) <= {1, 2}:
        raise InputError(f"{particles.source}: rlnRandomSubset must hold 1 and 2, and nothing else.")
    return np.asarray(halves, dtype=np.int64) - 1
