"""Where the specimen is in every frame: a shift per frame and a smooth polynomial over the micrograph.

The local part is third order in time and second order in space, without a constant in time, so that it vanishes in
the first frame: the model of Zheng et al., Nat. Methods 14 (2017) 331, in the order of coefficients in which RELION
keeps it (Zivanov, Nakane & Scheres, IUCrJ 6 (2019) 5, section 2.1). Shifts are those to be applied: the corrected
image at x is the frame at ``x - shift``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SPATIAL, TEMPORAL = 6, 3
"""Terms 1, x, x^2, y, y^2, xy, and powers 1 to 3 of the frame's number."""


def spatial_terms(x: Floats, y: Floats) -> Floats:
    """Return the six terms ``[..., 6]`` at normalised positions (-0.5 to 0.5 over the micrograph)."""
    x, y = np.broadcast_arrays(x, y)
    return np.stack([np.ones_like(x), x, x * x, y, y * y, x * y], axis=-1)


def temporal_terms(frames: int) -> Floats:
    """Return the powers ``[frames, 3]`` of the frames' numbers, the first frame being 0."""
    number = np.arange(frames, dtype=np.float64)
    return np.stack([number, number**2, number**3], axis=-1)


@dataclass(frozen=True)
class Trajectory:
    """Shifts of one movie in pixels of its frames.

    Attributes:
        whole_px: ``[frames, 2]`` (x, y), 0 in the first frame.
        coefficients: ``[2, 18]`` for x and y, a spatial term's three powers of time next to each other.
        height_px, width_px: of a frame.
    """

    whole_px: Floats
    coefficients: Floats
    height_px: int
    width_px: int

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.whole_px)

    @property
    def is_local(self) -> bool:
        """Whether there is a local part."""
        return bool(np.any(self.coefficients))

    def local_terms(self) -> Floats:
        """Return ``[frames, 2, 6]``: what each spatial term is multiplied with in every frame."""
        shaped = self.coefficients.reshape(2, SPATIAL, TEMPORAL)
        found: Floats = np.einsum("ft,dst->fds", temporal_terms(self.frames), shaped)
        return found

    def at(self, x_px: Floats, y_px: Floats) -> Floats:
        """Return shifts ``[frames, 2, ...]`` (x, y) at pixel positions of any one shape."""
        terms = spatial_terms(x_px / self.width_px - 0.5, y_px / self.height_px - 0.5)
        local = np.einsum("fds,...s->fd...", self.local_terms(), terms)
        whole = self.whole_px.reshape(*self.whole_px.shape, *(1,) * (terms.ndim - 1))
        found: Floats = whole + local
        return found

    def travelled_angstrom(self, pixel_size_angstrom: float, exposures: Floats, early: float) -> tuple[float, float]:
        """Return the path lengths of the whole frame in Angstrom: up to the exposure ``early``, and after it.

        Args:
            pixel_size_angstrom: of the movie.
            exposures: at the end of every frame.
            early: the exposure up to which motion is early, in the same unit.
        """
        steps = np.hypot(*np.diff(self.whole_px, axis=0).T) * pixel_size_angstrom
        soon = exposures[:-1] < early
        return float(steps[soon].sum()), float(steps[~soon].sum())
