"""What RELION's mask creation and post-processing leave, checked for physical sense."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, check_map, readable
from cryorepro.em.formats.star import StarBlock, read_star

MASK_FILE = "mask.mrc"
POSTPROCESS_FILES = {
    "map": "postprocess.mrc",
    "masked": "postprocess_masked.mrc",
    "star": "postprocess.star",
    "fsc_xml": "postprocess_fsc.xml",
}
# Solvent masks are stored with single precision edges from a cosine; RELION itself refuses beyond this.
_MASK_SLACK = 1e-5


def inspect_maskcreate(directory: Path, *, box_px: int) -> JobReport:
    """Check a mask: right box, values from 0 to 1, neither empty nor all of the box.

    Raises:
        IncompleteJob: it is missing or not a mask.
    """
    path = directory / MASK_FILE
    check_map(path, box_px)
    mask, _ = readable(read_map, path)
    low, high, fraction = float(mask.min()), float(mask.max()), float(mask.mean(dtype=np.float64))
    if low < -_MASK_SLACK or high > 1 + _MASK_SLACK:
        raise IncompleteJob(f"{path.name}: values from {low:g} to {high:g}, outside 0 to 1")
    if high < 0.5 or fraction >= 1:
        raise IncompleteJob(f"{path.name}: the mask selects {'nothing' if high < 0.5 else 'the whole box'}")
    return JobReport({"mask": Path(MASK_FILE)}, numbers={"mask_fraction_of_box": fraction})


def inspect_postprocess(directory: Path, *, box_px: int, masked: bool) -> JobReport:
    """Check post-processing: both maps, a curve for every shell, a resolution that can be one.

    Raises:
        IncompleteJob: a file is missing, the resolution is not between Nyquist and the box, the B-factor is not
            finite, a curve is none, or the mask covers less than a hundredth of the sphere in the box.
    """
    paths = {role: directory / name for role, name in POSTPROCESS_FILES.items()}
    for path in paths.values():
        if not path.is_file() or path.stat().st_size == 0:
            raise IncompleteJob(f"{directory.name}: {path.name} is missing or empty")
    pixel_size = check_map(paths["map"], box_px)
    check_map(paths["masked"], box_px, pixel_size)
    blocks = readable(read_star, paths["star"])
    numbers = readable(lambda path: _general(_block(blocks, "general", path), masked), paths["star"])
    resolution = numbers["final_resolution_angstrom"]
    nyquist, box = 2 * pixel_size, box_px * pixel_size
    if not nyquist * (1 - 1e-3) <= resolution <= box * (1 + 1e-3):
        raise IncompleteJob(
            f"{paths['star'].name}: rlnFinalResolution is {resolution:g} Angstrom, "
            f"not between Nyquist ({nyquist:g}) and the box ({box:g})"
        )
    readable(lambda path: _check_curve(_block(blocks, "fsc", path), box_px), paths["star"])
    return JobReport({role: Path(name) for role, name in POSTPROCESS_FILES.items()}, numbers=numbers)


def _general(block: StarBlock, masked: bool) -> dict[str, float]:
    numbers = {"final_resolution_angstrom": _finite(block, "rlnFinalResolution")}
    if "rlnBfactorUsedForSharpening" in block.columns:
        numbers["bfactor_angstrom2"] = _finite(block, "rlnBfactorUsedForSharpening")
    if masked:
        # Despite its name the volume of the sphere in the box over 1.1 times that of the mask. A published
        # benchmark shows 7616: a mask of next to nothing, and a resolution that looks as good as any.
        fraction = _finite(block, "rlnParticleBoxFractionSolventMask")
        if not 0 < fraction <= 100:
            raise InputError(f"{block.source}: rlnParticleBoxFractionSolventMask is {fraction:g}, not within 0 to 100")
        numbers["sphere_to_mask_volume_ratio"] = fraction
        numbers["randomise_from_angstrom"] = _finite(block, "rlnRandomiseFrom")
    return numbers


def _check_curve(block: StarBlock, box_px: int) -> None:
    # The corrected curve may fall below -1 where the randomised one is high; no curve rises above 1.
    lowest = {"rlnFourierShellCorrelationCorrected": -np.inf, "rlnFourierShellCorrelationUnmaskedMaps": -1.001}
    for label, low in lowest.items():
        if label not in block.columns and label != "rlnFourierShellCorrelationCorrected":
            continue
        curve = block.numbers(label)
        if len(curve) != box_px // 2 + 1:
            raise InputError(f"{block.source}: {label} has {len(curve)} shells, not {box_px // 2 + 1}")
        if not np.isfinite(curve).all() or curve.max() > 1.001 or curve.min() < low:
            raise InputError(f"{block.source}: {label} holds what is no correlation")


def _finite(block: StarBlock, label: str) -> float:
    block.value(label)
    value = float(block.numbers(label)[0])
    if not math.isfinite(value):
        raise InputError(f"{block.source}: {label} is {value}, not a finite number")
    return value


def _block(blocks: dict[str, StarBlock], name: str, path: Path) -> StarBlock:
    if name not in blocks:
        raise InputError(f"{path}: the table data_{name} is missing")
    return blocks[name]
