"""Optics groups: what the particles of one imaging condition share, with units in names, ranges checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import StarBlock, make_block

IDENTITY = (1.0, 0.0, 0.0, 1.0)
_MAG_LABELS = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
_OWN_LABELS = {
    "rlnOpticsGroup", "rlnOpticsGroupName", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast",
    "rlnImagePixelSize", "rlnImageSize", "rlnBeamTiltX", "rlnBeamTiltY", *_MAG_LABELS,
}  # fmt: skip
RANGES = {
    "rlnVoltage": (50.0, 1000.0, "kV"),
    "rlnImagePixelSize": (0.1, 50.0, "Angstrom"),
    "rlnSphericalAberration": (0.0, 10.0, "mm"),
    "rlnAmplitudeContrast": (0.0, 1.0, "as a fraction"),
    "rlnImageSize": (2.0, 8192.0, "pixels"),
}


@dataclass(frozen=True)
class OpticsGroup:
    """One row of RELION's optics table.

    `magnification_matrix` is row-major (00, 01, 10, 11); `extra` keeps the remaining labels as text.
    """

    group: int
    name: str
    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    pixel_size_angstrom: float
    box_px: int | None = None
    beam_tilt_x_mrad: float = 0.0
    beam_tilt_y_mrad: float = 0.0
    magnification_matrix: tuple[float, float, float, float] = IDENTITY
    extra: Mapping[str, str] = field(default_factory=dict)

    def with_box(self, box_px: int) -> OpticsGroup:
        """The same group with the image size stated."""
        return replace(self, box_px=box_px)


def check_range(value: float, label: str, source: str, where: str) -> float:
    """Return `value` if it is finite and inside the physical range of `label`.

    Raises:
        InputError: It is not; the sentence names file, label, place and range.
    """
    low, high, unit = RANGES[label]
    if not math.isfinite(value) or not low <= value <= high:
        raise InputError(f"{source}: {label} in {where} is {value:g}, outside {low:g} to {high:g} {unit}.")
    return value


def read_optics(block: StarBlock) -> tuple[OpticsGroup, ...]:
    """Read a RELION 3.1 or later `data_optics` table.

    Raises:
        InputError: A column is missing, a value is out of range, or a group is numbered twice.
    """
    groups = block.integers("rlnOpticsGroup")
    if len(set(groups.tolist())) != len(groups):
        raise InputError(f"{block.source}: rlnOpticsGroup in data_optics numbers two groups alike.")
    return tuple(_read_group(block, row, int(number)) for row, number in enumerate(groups))


def _read_group(block: StarBlock, row: int, number: int) -> OpticsGroup:
    def checked(label: str) -> float:
        return check_range(float(block.numbers(label)[row]), label, block.source, f"optics group {number}")

    def optional(label: str, default: float) -> float:
        value = float(block.numbers(label)[row]) if label in block.columns else default
        if not math.isfinite(value):
            raise InputError(f"{block.source}: {label} in optics group {number} is not a finite number.")
        return value

    name = block.columns["rlnOpticsGroupName"][row] if "rlnOpticsGroupName" in block.columns else ""
    mags = [optional(label, default) for label, default in zip(_MAG_LABELS, IDENTITY, strict=True)]
    return OpticsGroup(
        group=number,
        name=name or f"opticsGroup{number}",
        voltage_kv=checked("rlnVoltage"),
        spherical_aberration_mm=checked("rlnSphericalAberration"),
        amplitude_contrast=checked("rlnAmplitudeContrast"),
        pixel_size_angstrom=checked("rlnImagePixelSize"),
        box_px=int(checked("rlnImageSize")) if "rlnImageSize" in block.columns else None,
        beam_tilt_x_mrad=optional("rlnBeamTiltX", 0.0),
        beam_tilt_y_mrad=optional("rlnBeamTiltY", 0.0),
        magnification_matrix=(mags[0], mags[1], mags[2], mags[3]),
        extra={label: column[row] for label, column in block.columns.items() if label not in _OWN_LABELS},
    )


def odd_zernike(group: OpticsGroup) -> list[float]:
    """The coefficients of rlnOddZernike, empty without.

    Raises:
        InputError: they are not a list of finite numbers in brackets.
    """
    listed = group.extra.get("rlnOddZernike", "[]").strip().removeprefix("[").removesuffix("]")
    try:
        values = [float(value) for value in listed.split(",")] if listed.strip() else []
    except ValueError:
        values = [math.nan]
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"optics group {group.group}: rlnOddZernike holds what is no number: [{listed[:60]}].")
    return values


def optics_block(groups: Sequence[OpticsGroup], source: str) -> StarBlock:
    """The RELION 3.1 `data_optics` table of `groups`.

    Columns that every group leaves at its neutral value are not written.

    Raises:
        InputError: Only some groups carry an extra label or a box, so no table can hold them.
    """
    extras = sorted({label for group in groups for label in group.extra})
    boxes = [group.box_px for group in groups]
    if any(set(group.extra) != set(extras) for group in groups) or (None in boxes and set(boxes) != {None}):
        raise InputError(f"{source}: the optics groups do not all carry the same labels.")
    columns: dict[str, list[str | int | float]] = {
        "rlnOpticsGroup": [g.group for g in groups],
        "rlnOpticsGroupName": [g.name for g in groups],
        "rlnVoltage": [g.voltage_kv for g in groups],
        "rlnSphericalAberration": [g.spherical_aberration_mm for g in groups],
        "rlnAmplitudeContrast": [g.amplitude_contrast for g in groups],
        "rlnImagePixelSize": [g.pixel_size_angstrom for g in groups],
    }
    if None not in boxes:
        columns["rlnImageSize"] = [box for box in boxes if box is not None]
        columns.setdefault("rlnImageDimensionality", [2] * len(groups))
    if any(g.beam_tilt_x_mrad or g.beam_tilt_y_mrad for g in groups):
        columns["rlnBeamTiltX"] = [g.beam_tilt_x_mrad for g in groups]
        columns["rlnBeamTiltY"] = [g.beam_tilt_y_mrad for g in groups]
    if any(g.magnification_matrix != IDENTITY for g in groups):
        for i, label in enumerate(_MAG_LABELS):
            columns[label] = [g.magnification_matrix[i] for g in groups]
    for label in extras:
        columns[label] = [g.extra[label] for g in groups]
    return make_block("optics", columns)


def imaging_conditions(optics: StarBlock, pixel_label: str) -> dict[int, tuple[float, float, float, float]]:
    """kV, Cs in mm, amplitude contrast and pixel size in Angstrom of every group of a table of micrographs or movies.

    Raises:
        InputError: a column is missing, or a value is out of range.
    """
    limits = {
        "rlnVoltage": "rlnVoltage",
        "rlnSphericalAberration": "rlnSphericalAberration",
        "rlnAmplitudeContrast": "rlnAmplitudeContrast",
        pixel_label: "rlnImagePixelSize",
    }
    found = {}
    for row, number in enumerate(optics.integers("rlnOpticsGroup").tolist()):
        voltage, aberration, contrast, pixel = (
            check_range(float(optics.numbers(label)[row]), limit, f"{optics.source}: {label}", f"optics group {number}")
            for label, limit in limits.items()
        )
        found[number] = (voltage, aberration, contrast, pixel)
    return found
