"""What is known of a micrograph's picks; no torch here, so that tables can be read without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Picks:
    """Picks of one micrograph, columns of one length.

    Attributes:
        at_px: ``[m, 2]`` (x, y) of the particles' centres in pixels of the micrograph, pixel 0's centre at 0.
        ncc: Normalised cross-correlation of the best template.
        power: Variance under the template's support in units of white noise in the band (`micrograph`).
        psi_deg: In-plane angle of the template (of an ellipse's long axis).
        classes: The template's class, or the number of the blob's shape, from 1.
        diameter_angstrom: Of the template.
    """

    at_px: Floats
    ncc: Floats
    power: Floats
    psi_deg: Floats
    classes: NDArray[np.int64]
    diameter_angstrom: Floats

    def __len__(self) -> int:
        """Number of picks."""
        return len(self.ncc)

    def subset(self, rows: NDArray[np.generic]) -> Picks:
        """The picks at these rows (indices or a mask)."""
        return Picks(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))
