"""The modulation transfer function of a detector, as RELION keeps it: a STAR table of value against frequency."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star

Floats = NDArray[np.float64]
_SMALLEST = 1e-4


@dataclass(frozen=True)
class MtfCurve:
    """Values at frequencies in 1/pixel (0.5 is Nyquist), both ``[n]`` and ascending in frequency."""

    frequency_per_px: Floats
    values: Floats

    def at(self, frequency_per_px: Floats) -> Floats:
        """The MTF at any frequencies, linear between the table's; its ends beyond them."""
        return np.interp(frequency_per_px, self.frequency_per_px, self.values)


def read_mtf(path: Path) -> MtfCurve:
    """Read ``rlnResolutionInversePixel`` and ``rlnMtfValue``.

    Raises:
        InputError: the table is missing, has fewer than two rows, is not ascending, or a value is not above 0
            (nothing can be divided by it) or above 2.
    """
    tables = [block for block in read_star(path).values() if "rlnMtfValue" in block.columns]
    if not tables:
        raise InputError(f"{path}: column rlnMtfValue is missing; this is not an MTF curve.")
    frequency, values = tables[0].numbers("rlnResolutionInversePixel"), tables[0].numbers("rlnMtfValue")
    if len(frequency) < 2 or not (
        np.isfinite(frequency).all() and (np.diff(frequency) > 0).all() and frequency[0] >= 0
    ):
        raise InputError(f"{path}: rlnResolutionInversePixel must hold two or more ascending frequencies.")
    good = (values > _SMALLEST) & (values <= 2.0)
    if not good.all():
        raise InputError(f"{path}: rlnMtfValue in row {int(np.argmin(good)) + 1} is {values[~good][0]:g}, not above 0.")
    return MtfCurve(frequency, values)
