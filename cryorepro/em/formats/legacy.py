"""Particle tables of RELION 3.0 and before, brought to the meaning of RELION 3.1.

Pixel size in Angstrom is the detector pixel in micrometres times 10,000 over the magnification; origins were
in pixels. Each distinct combination of imaging conditions becomes one optics group, in order of appearance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.optics import OpticsGroup, check_range

Columns = dict[str, NDArray[Any]]
_CONDITIONS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
_TILTS = ("rlnBeamTiltX", "rlnBeamTiltY")
_SCALE = ("rlnMagnification", "rlnDetectorPixelSize")
MICROMETRE_IN_ANGSTROM = 1.0e4


def upgrade_legacy(
    columns: Columns, row_count: int, source: str, defaults: Mapping[str, float]
) -> tuple[tuple[OpticsGroup, ...], Columns]:
    """Return optics groups and the columns that stay with the particles, `rlnOpticsGroup` among them.

    Raises:
        InputError: A column of imaging conditions is missing (and not in `defaults`), not numeric or out of
            range.
    """
    pixel_sizes = _pixel_sizes(columns, row_count, source, defaults)
    conditions = [
        pixel_sizes,
        *(_numeric(columns, label, row_count, source, defaults) for label in _CONDITIONS),
    ]
    zero = dict.fromkeys(_TILTS, 0.0)
    conditions += [_numeric(columns, label, row_count, source, zero) for label in _TILTS]
    table = np.stack(conditions, axis=1)
    distinct, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    number_of = np.empty(len(order), dtype=np.int64)
    number_of[order] = np.arange(1, len(order) + 1)
    optics = tuple(_group(int(i) + 1, distinct[k], source) for i, k in enumerate(order))
    kept = {k: v for k, v in columns.items() if k not in {*_CONDITIONS, *_TILTS, *_SCALE}}
    for axis in "XY":
        if f"rlnOrigin{axis}" in kept:
            shift = _numeric(kept, f"rlnOrigin{axis}", row_count, source, {})
            del kept[f"rlnOrigin{axis}"]
            kept[f"rlnOrigin{axis}Angst"] = shift * pixel_sizes
    kept["rlnOpticsGroup"] = number_of[inverse.reshape(-1)]
    return optics, kept


def _pixel_sizes(columns: Columns, n: int, source: str, defaults: Mapping[str, float]) -> NDArray[np.float64]:
    if "rlnMagnification" not in columns and "rlnImagePixelSize" in defaults:
        return np.full(n, float(defaults["rlnImagePixelSize"]))
    magnification = _numeric(columns, "rlnMagnification", n, source, defaults)
    detector_um = _numeric(columns, "rlnDetectorPixelSize", n, source, defaults)
    if not (magnification > 0).all():
        row = int(np.argmin(magnification > 0))
        raise InputError(f"{source}: rlnMagnification of particle {row + 1} is {magnification[row]}, not positive.")
    # Rounded so that conditions equal to nine figures make one group whatever the arithmetic did.
    return np.round(detector_um * MICROMETRE_IN_ANGSTROM / magnification, 9)


def _numeric(
    columns: Mapping[str, NDArray[Any]], label: str, n: int, source: str, defaults: Mapping[str, float]
) -> NDArray[np.float64]:
    if label not in columns:
        if label not in defaults:
            raise InputError(f"{source}: column {label} is missing from the particle table.")
        return np.full(n, float(defaults[label]))
    values = columns[label]
    if values.dtype == object or not np.isfinite(values).all():
        raise InputError(f"{source}: column {label} holds something that is not a finite number.")
    return values.astype(np.float64)


def _group(number: int, row: NDArray[np.float64], source: str) -> OpticsGroup:
    where = f"optics group {number}"
    return OpticsGroup(
        group=number,
        name=f"opticsGroup{number}",
        pixel_size_angstrom=check_range(float(row[0]), "rlnImagePixelSize", source, where),
        voltage_kv=check_range(float(row[1]), "rlnVoltage", source, where),
        spherical_aberration_mm=check_range(float(row[2]), "rlnSphericalAberration", source, where),
        amplitude_contrast=check_range(float(row[3]), "rlnAmplitudeContrast", source, where),
        beam_tilt_x_mrad=float(row[4]),
        beam_tilt_y_mrad=float(row[5]),
    )
