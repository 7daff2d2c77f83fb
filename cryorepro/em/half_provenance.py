"""Whether half maps were made from the particles of their own half, told by the noise in them.

Beyond the resolution a map holds nothing but the noise of its particles at their poses.  A reconstruction of the same
particles holds the same noise and correlates there; of other particles, or of the same ones at other poses, it does
not.  Half maps exchanged, one half given twice, halves that share particles, and maps left by another run each leave
their own pattern in the correlations of two maps with two reconstructions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cryorepro.em.fsc import Curve, crossing, fsc_curve
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.lowpass import Map
from cryorepro.em.signal_backing import reconstruct_half

_OWN = 0.15
"""Half maps of a likelihood refinement spread each particle over several poses: their noise correlates with that of
the best poses at well above this."""
_FEWEST_SHELLS = 3


@dataclass(frozen=True)
class Provenance:
    """``noise[i, j]``: mean FSC, beyond the resolution, of half map ``i + 1`` with the particles of half ``j + 1``.

    ``between`` is that of the two half maps with each other, ``signal`` that of the two reconstructions (0 where there
    is noise alone), ``shells`` the first and last shell used.
    """

    noise: npt.NDArray[np.float64]
    between: float
    signal: float
    shells: tuple[int, int]

    @property
    def fault(self) -> str | None:
        """What is wrong, as a sentence; None when each map holds the noise of its own half and not the other's."""
        if self.signal > _OWN:
            return (
                f"half sets cannot be told: the signal reaches shell {self.shells[1]} of the box, which leaves no"
                " noise to tell them by"
            )
        own = self.noise > _OWN
        figures = ", ".join(f"{value:.2f}" for value in self.noise.ravel())
        tail = (
            f"(correlation of the noise in shells {self.shells[0]} to {self.shells[1]}: {figures}; of half map 1 with"
            " the particles of half 1 and 2, then of half map 2)"
        )
        if own.all():
            return f"half sets not independent: both half maps hold the noise of the same particles {tail}"
        if own[0, 1] and own[1, 0]:
            return f"half sets swapped: each half map holds the noise of the other half's particles {tail}"
        if own[:, 0].all() or own[:, 1].all():
            half = 1 if own[:, 0].all() else 2
            return f"half sets not independent: both half maps were made from the particles of half {half} {tail}"
        stale = [str(half + 1) for half in range(2) if not own[half].any()]
        if stale:
            maps = "half maps 1 and 2 do" if len(stale) == 2 else f"half map {stale[0]} does"
            return f"stale map: {maps} not hold the noise of this run's particles at this run's poses {tail}"
        return None


def half_provenance(
    half_maps: tuple[Map, Map], images: ImageSet, poses: Poses, halves: Tensor, symmetry: Tensor
) -> Provenance:
    """Hold two unfiltered half maps ``[n, n, n]`` against reconstructions of the halves the particle table states.

    Args:
        half_maps: of halves 1 and 2.
        images: all particles.
        poses: of all of them, as the run left them.
        halves: ``[n]``, 1 or 2, as the run left them.
        symmetry: point group ``[s, 3, 3]`` the run imposed.
    """
    made = [reconstruct_half(images, poses, halves == half, symmetry) for half in (1, 2)]
    between = fsc_curve(*half_maps)
    # The reconstructions decide where noise begins: half maps that were tampered with may agree to Nyquist.
    signal = fsc_curve(*made)
    start = crossing(signal, 0.143).shell + 2
    last = images.box_px // 2 - 1
    start = max(2, min(start, last - _FEWEST_SHELLS))
    noise = np.array([[_mean(fsc_curve(volume, other), start, last) for other in made] for volume in half_maps])
    return Provenance(noise, _mean(between, start, last), _mean(signal, start, last), (start, last))


def _mean(curve: Curve, start: int, last: int) -> float:
    """Over the shells that hold anything: an exact zero is a shell that a program left empty."""
    used = curve[start : last + 1]
    used = used[used != 0.0]
    return float(used.mean()) if used.size else 0.0
