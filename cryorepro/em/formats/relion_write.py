"""RELION's per-iteration tables: ``model.star``, ``sampling.star`` and ``optimiser.star`` as STAR blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.formats.relion_optimiser import OPTIMISER_VALUES
from cryorepro.em.formats.star import StarBlock, Value, make_block

Floats = NDArray[np.float64]
_UNRESOLVED_ANGSTROM = 999.0
_NOT_MEASURED = 999.0


@dataclass(frozen=True)
class ClassTables:
    """One class: the name of its map, its share of the particles, and its spectra ``[n / 2 + 1]``.

    A class of images has no ``direction_prior`` but a centre of its offsets' prior, ``offset_px`` (x, y).
    """

    map_name: str
    fraction: float
    resolution_angstrom: float
    ssnr: Floats
    gold_standard_fsc: Floats
    coverage: Floats
    sigma2: Floats
    tau2: Floats
    direction_prior: Floats | None = None
    offset_px: tuple[float, float] | None = None


@dataclass(frozen=True)
class NoiseGroup:
    """One group of particles (a micrograph): its members, intensity scale and noise spectrum."""

    name: str
    particles: int
    scale: float
    sigma2: Floats


@dataclass(frozen=True)
class ModelTables:
    """What ``model.star`` holds. ``resolution_angstrom`` is infinite before the first iteration.

    ``local_sigma_deg`` is the deviation of a local search's priors, 0 for a global one; ``accuracy`` the estimated
    errors in degrees and Angstrom, 999 where they were not estimated.
    """

    box_px: int
    pixel_size_angstrom: float
    padding: int
    resolution_angstrom: float
    image_size_px: int
    tau2_fudge: float
    average_norm: float
    offset_sigma_angstrom: float
    log_likelihood: float
    average_pmax: float
    classes: Sequence[ClassTables]
    groups: Sequence[NoiseGroup]
    local_sigma_deg: float = 0.0
    accuracy: tuple[float, float] = (_NOT_MEASURED, _NOT_MEASURED)


def model_blocks(model: ModelTables) -> list[StarBlock]:
    """The blocks of ``model.star`` in RELION's order."""
    extent = model.box_px * model.pixel_size_angstrom
    blocks = [_general(model), _classes(model)]
    for number, part in enumerate(model.classes, start=1):
        spectra = {
            "rlnSsnrMap": part.ssnr,
            "rlnGoldStandardFsc": part.gold_standard_fsc,
            "rlnFourierCompleteness": part.coverage,
            "rlnReferenceSigma2": part.sigma2,
            "rlnReferenceTau2": part.tau2,
        }
        blocks.append(_spectral(f"model_class_{number}", extent, spectra))
    blocks.append(_groups(model.groups))
    for number, group in enumerate(model.groups, start=1):
        spectrum = _spectral(f"model_group_{number}", extent, {"rlnSigma2Noise": group.sigma2})
        del spectrum.columns["rlnAngstromResolution"]
        blocks.append(spectrum)
    for number, part in enumerate(model.classes, start=1):
        if part.direction_prior is None:
            continue
        prior: dict[str, Sequence[Value]] = {"rlnOrientationDistribution": part.direction_prior.tolist()}
        blocks.append(make_block(f"model_pdf_orient_class_{number}", prior))
    return blocks


def _general(model: ModelTables) -> StarBlock:
    values: dict[str, Value] = {
        "rlnReferenceDimensionality": 2 if model.classes[0].direction_prior is None else 3,
        "rlnDataDimensionality": 2,
        "rlnOriginalImageSize": model.box_px,
        "rlnCurrentResolution": model.resolution_angstrom,
        "rlnCurrentImageSize": model.image_size_px,
        "rlnPaddingFactor": float(model.padding),
        "rlnIsHelix": 0,
        "rlnFourierSpaceInterpolator": 1,
        "rlnMinRadiusNnInterpolation": 10,
        "rlnPixelSize": model.pixel_size_angstrom,
        "rlnNrClasses": len(model.classes),
        "rlnNrBodies": 1,
        "rlnNrGroups": len(model.groups),
        "rlnTau2FudgeFactor": model.tau2_fudge,
        "rlnNormCorrectionAverage": model.average_norm,
        "rlnSigmaOffsetsAngst": model.offset_sigma_angstrom,
        "rlnOrientationalPriorMode": int(model.local_sigma_deg > 0.0),
        "rlnSigmaPriorRotAngle": model.local_sigma_deg,
        "rlnSigmaPriorTiltAngle": model.local_sigma_deg,
        "rlnSigmaPriorPsiAngle": model.local_sigma_deg,
        "rlnLogLikelihood": model.log_likelihood,
        "rlnAveragePmax": model.average_pmax,
    }
    return pairs("model_general", values)


def _classes(model: ModelTables) -> StarBlock:
    classes, count = model.classes, len(model.classes)
    columns: dict[str, Sequence[Value]] = {
        "rlnReferenceImage": [part.map_name for part in classes],
        "rlnClassDistribution": [part.fraction for part in classes],
        "rlnAccuracyRotations": [model.accuracy[0]] * count,
        "rlnAccuracyTranslationsAngst": [model.accuracy[1]] * count,
        "rlnEstimatedResolution": [part.resolution_angstrom for part in classes],
        "rlnOverallFourierCompleteness": [float(part.coverage.mean()) for part in classes],
    }
    offsets = [part.offset_px for part in classes if part.offset_px is not None]
    if offsets:
        columns |= {"rlnClassPriorOffsetX": [x for x, _ in offsets], "rlnClassPriorOffsetY": [y for _, y in offsets]}
    return make_block("model_classes", columns)


def _groups(groups: Sequence[NoiseGroup]) -> StarBlock:
    columns: dict[str, Sequence[Value]] = {
        "rlnGroupNumber": list(range(1, len(groups) + 1)),
        "rlnGroupName": [group.name for group in groups],
        "rlnGroupNrParticles": [group.particles for group in groups],
        "rlnGroupScaleCorrection": [group.scale for group in groups],
    }
    return make_block("model_groups", columns)


def _spectral(name: str, extent_angstrom: float, spectra: Mapping[str, Floats]) -> StarBlock:
    """Columns over Fourier shells; infinite values (empty shells) are written as 0, as RELION does."""
    count = len(next(iter(spectra.values())))
    shells = range(count)
    columns: dict[str, Sequence[Value]] = {
        "rlnSpectralIndex": list(shells),
        "rlnResolution": [shell / extent_angstrom for shell in shells],
        "rlnAngstromResolution": [extent_angstrom / s if s else _UNRESOLVED_ANGSTROM for s in shells],
    }
    for label, values in spectra.items():
        columns[label] = np.where(np.isfinite(values), values, 0.0).tolist()
    return make_block(name, columns)


def sampling_blocks(
    *,
    healpix_order: int,
    symmetry: str,
    offset_range_angstrom: float,
    offset_step_angstrom: float,
    perturbation: float,
    perturbation_factor: float,
    directions_deg: Floats,
) -> list[StarBlock]:
    """The blocks of ``sampling.star``; ``directions_deg [d, 2]`` are (rot, tilt)."""
    psi_step = 60.0 / 2**healpix_order
    values: dict[str, Value] = {
        "rlnIs3DSampling": 1,
        "rlnIs3DTranslationalSampling": 0,
        "rlnHealpixOrder": healpix_order,
        "rlnSymmetryGroup": symmetry,
        "rlnTiltAngleLimit": -91.0,
        "rlnPsiStep": psi_step,
        "rlnOffsetRange": offset_range_angstrom,
        "rlnOffsetStep": offset_step_angstrom,
        "rlnHelicalOffsetStep": -1.0,
        "rlnSamplingPerturbInstance": perturbation,
        "rlnSamplingPerturbFactor": perturbation_factor,
    }
    directions: dict[str, Sequence[Value]] = {
        "rlnAngleRot": directions_deg[:, 0].tolist(),
        "rlnAngleTilt": directions_deg[:, 1].tolist(),
    }
    return [pairs("sampling_general", values), make_block("sampling_directions", directions)]


def plane_sampling_blocks(
    *,
    psi_step_deg: float,
    offset_range_angstrom: float,
    offset_step_angstrom: float,
    perturbation: float,
    perturbation_factor: float,
) -> list[StarBlock]:
    """The block of ``sampling.star`` of a 2D classification."""
    values: dict[str, Value] = {
        "rlnIs3DSampling": 0,
        "rlnIs3DTranslationalSampling": 0,
        "rlnPsiStep": psi_step_deg,
        "rlnOffsetRange": offset_range_angstrom,
        "rlnOffsetStep": offset_step_angstrom,
        "rlnHelicalOffsetStep": -1.0,
        "rlnSamplingPerturbInstance": perturbation,
        "rlnSamplingPerturbFactor": perturbation_factor,
    }
    return [pairs("sampling_general", values)]


def optimiser_block(iteration: int, iterations: int, seed: int, values: Mapping[str, Value]) -> StarBlock:
    """The one block of ``optimiser.star``: where the job stands, its seed, and ``values`` by label.

    Labels that RELION needs and ``values`` does not name get what means nothing.
    """
    general: dict[str, Value] = {
        "rlnCurrentIteration": iteration,
        "rlnNumberOfIterations": iterations,
        "rlnRandomSeed": seed,
    }
    return pairs("optimiser_general", general | dict(OPTIMISER_VALUES) | dict(values))


def pairs(name: str, values: Mapping[str, Value]) -> StarBlock:
    """A block of label/value pairs."""
    return make_block(name, {label: [value] for label, value in values.items()}, is_loop=False)
