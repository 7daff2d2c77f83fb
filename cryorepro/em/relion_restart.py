"""What RELION's own files say of an iteration, to go on from it: a job of RELION's, or of ours without its sidecar.

Everything is read to the digits RELION writes, so what follows is not bit for bit what RELION would have done;
its random perturbations follow another sequence anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.formats.relion_files import Iteration
from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.imageset import Poses

_SPECTRA = {
    "ssnr": "rlnSsnrMap", "fsc": "rlnGoldStandardFsc", "coverage": "rlnFourierCompleteness",
    "sigma2": "rlnReferenceSigma2", "tau2": "rlnReferenceTau2",
}  # fmt: skip


@dataclass(frozen=True)
class JobShape:
    """What the job at hand needs to know of itself to take an iteration over.

    Attributes:
        particles: its table, whose rows the iteration's particles are matched with by image name.
        group_names: of every micrograph, in order of its intensity scales.
        noise_of_group: the noise spectrum each of them uses.
        box_px, pixel_size_angstrom: of images and maps.
    """

    particles: Particles
    group_names: Sequence[str]
    noise_of_group: Sequence[int]
    box_px: int
    pixel_size_angstrom: float

    def shell_of(self, resolution_angstrom: float) -> int:
        """The Fourier shell of a resolution, 0 for infinity."""
        extent = self.box_px * self.pixel_size_angstrom
        return 0 if not math.isfinite(resolution_angstrom) else round(extent / resolution_angstrom)


@dataclass(frozen=True)
class SavedModel:
    """One ``model.star``; spectra ``[k, n / 2 + 1]``, ``noise`` ``[noise groups, n / 2 + 1]``, float64."""

    noise: Tensor
    scale: Tensor
    spectra: dict[str, Tensor]
    direction_prior: list[Tensor]
    offset_sigma_angstrom: float
    average_norm: float
    log_likelihood: float
    average_pmax: float
    resolution_shell: int
    image_radius: int


@dataclass(frozen=True)
class SavedSampling:
    """The general part of ``sampling.star``, lengths in pixels."""

    healpix_order: int
    offset_range_px: float
    offset_step_px: float
    perturbation: float


def read_saved_model(path: Path, shape: JobShape, classes: int) -> SavedModel:
    """Read a model, its groups brought into this job's order.

    Raises:
        InputError: a table, label or group is missing, or its box is another.
    """
    blocks = read_star(path)
    general, shells = _block(blocks, "model_general", path), shape.box_px // 2 + 1
    spectra = {
        name: torch.stack([
            _column(_block(blocks, f"model_class_{k}", path), label, shells) for k in range(1, classes + 1)
        ])
        for name, label in _SPECTRA.items()
    }  # fmt: skip
    noise, scale = _groups(blocks, shape, path)
    prior = [
        torch.from_numpy(_block(blocks, f"model_pdf_orient_class_{k}", path).numbers("rlnOrientationDistribution"))
        for k in range(1, classes + 1)
        if general.columns.get("rlnReferenceDimensionality") != ["2"]  # images have no directions
    ]
    return SavedModel(
        noise=noise,
        scale=scale,
        spectra=spectra,
        direction_prior=prior,
        offset_sigma_angstrom=_number(general, "rlnSigmaOffsetsAngst"),
        average_norm=_number(general, "rlnNormCorrectionAverage"),
        log_likelihood=_number(general, "rlnLogLikelihood"),
        average_pmax=_number(general, "rlnAveragePmax"),
        resolution_shell=shape.shell_of(float(general.value("rlnCurrentResolution"))),
        image_radius=min(int(_number(general, "rlnCurrentImageSize")), shape.box_px) // 2,
    )


def _groups(blocks: dict[str, StarBlock], shape: JobShape, path: Path) -> tuple[Tensor, Tensor]:
    """Noise spectra (a mean over the groups that share one, by their particles) and intensity scales."""
    table = _block(blocks, "model_groups", path)
    names = table.text("rlnGroupName")
    scales, members = table.numbers("rlnGroupScaleCorrection"), table.numbers("rlnGroupNrParticles")
    shells, spectra = shape.box_px // 2 + 1, max(shape.noise_of_group) + 1
    total, weight = torch.zeros(spectra, shells, dtype=torch.float64), torch.zeros(spectra, 1, dtype=torch.float64)
    scale = torch.ones(len(shape.group_names), dtype=torch.float64)
    for group, (name, spectrum) in enumerate(zip(shape.group_names, shape.noise_of_group, strict=True)):
        if name not in names:
            raise InputError(f"{path}: group {name} of the particles is missing from data_model_groups.")
        place = names.index(name)
        own = _column(_block(blocks, f"model_group_{place + 1}", path), "rlnSigma2Noise", shells)
        share = max(float(members[place]), 1e-3)
        total[spectrum] += share * own
        weight[spectrum] += share
        scale[group] = float(scales[place])
    noise = total / weight
    if not bool((noise[:, 1:] > 0.0).all()):
        raise InputError(f"{path}: rlnSigma2Noise has values that are not above zero.")
    return noise, scale


def read_saved_sampling(path: Path, pixel_size_angstrom: float) -> SavedSampling:
    """Read the grid of an iteration.

    Raises:
        InputError: a label is missing or out of range.
    """
    general = _block(read_star(path), "sampling_general", path)
    return SavedSampling(
        healpix_order=int(_number(general, "rlnHealpixOrder")),
        offset_range_px=_number(general, "rlnOffsetRange") / pixel_size_angstrom,
        offset_step_px=_number(general, "rlnOffsetStep") / pixel_size_angstrom,
        perturbation=_number(general, "rlnSamplingPerturbInstance"),
    )


def read_saved_poses(path: Path, shape: JobShape) -> tuple[Poses, NDArray[np.int64]]:
    """Poses of all particles in this job's order, and the half each is in (1, or 0 where the table has none).

    Raises:
        InputError: the table's particles are not this job's, or a column is missing.
    """
    saved = read_particles(path)
    place = {name: row for row, name in enumerate(saved.image_names)}
    try:
        rows = np.array([place[name] for name in shape.particles.image_names], dtype=np.int64)
    except KeyError as error:
        raise InputError(f"{path}: particle {error.args[0]} of this job is missing.") from error
    saved = saved.subset(rows.tolist())

    def whole(label: str) -> Tensor:
        return torch.from_numpy(saved.numbers(label, 0.0).astype(np.int64))

    poses = Poses(
        euler_deg=torch.from_numpy(saved.angles_degrees.copy()),
        origin_px=torch.from_numpy(saved.origins_angstrom / shape.pixel_size_angstrom),
        class_index=(whole("rlnClassNumber") - 1).clamp(min=0),
        max_probability=torch.from_numpy(saved.numbers("rlnMaxValueProbDistribution", 0.0).copy()),
        log_likelihood=torch.from_numpy(saved.numbers("rlnLogLikeliContribution", 0.0).copy()),
        significant=whole("rlnNrOfSignificantSamples"),
        norm=torch.from_numpy(saved.numbers("rlnNormCorrection", 1.0).copy()),
    )
    return poses, np.asarray(saved.numbers("rlnRandomSubset", 0.0), dtype=np.int64)


def read_saved_maps(iteration: Iteration) -> Tensor:
    """Maps ``[k, n, n, n]`` float32 of the iteration, both halves' in turn where there are two."""
    return torch.from_numpy(np.stack([read_map(path)[0] for path in iteration.maps]))


def read_counters(path: Path) -> dict[str, float]:
    """Where a refinement stands: counters, changes and accuracies of ``optimiser.star`` by label."""
    general = _block(read_star(path), "optimiser_general", path)
    labels = (
        "rlnNumberOfIterWithoutResolutionGain", "rlnNumberOfIterWithoutChangingAssignments",
        "rlnBestResolutionThusFar", "rlnAdaptiveOversampleOrder", "rlnOverallAccuracyRotations",
        "rlnOverallAccuracyTranslationsAngst", "rlnChangesOptimalOrientations", "rlnChangesOptimalOffsets",
        "rlnSmallestChangesOrientations", "rlnSmallestChangesOffsets",
    )  # fmt: skip
    return {label: _number(general, label) for label in labels}


def _block(blocks: dict[str, StarBlock], name: str, path: Path) -> StarBlock:
    if name not in blocks:
        raise InputError(f"{path}: the table data_{name} is missing.")
    return blocks[name]


def _column(block: StarBlock, label: str, rows: int) -> Tensor:
    values = block.numbers(label)
    if values.shape[0] != rows or not np.isfinite(values).all():
        raise InputError(f"{block.source}: column {label} of data_{block.name} is not {rows} finite numbers.")
    return torch.from_numpy(values)


def _number(block: StarBlock, label: str) -> float:
    text = block.value(label)
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{block.source}: {label} is '{text}', not a number.") from error
    if not math.isfinite(value):
        raise InputError(f"{block.source}: {label} is {text}, which is not finite.")
    return value
