"""The levels of a branch-and-bound search: how finely each looks, and how far out in Fourier space.

Level 0 is an exhaustive grid at low resolution.  Every later level halves the angular and the shift step and looks as
far out as steps of that size can follow: the idea of Punjani, Rubinstein, Fleet & Brubaker, Nature Methods 14 (2017)
290, doi:10.1038/nmeth.4169.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# A pose wrong by half a step in the worst direction moves the particle's rim by this much phase at most (radians).
# The grid is one matrix product and cheap; later levels pay for every pixel of every slice.
_PHASE_ON_THE_GRID, _PHASE_WITHIN_LEVEL = 2.5, 1.6
_PHASE_AT_THE_END = 0.5
_LEAST_SHELL = 5
_MOST_LEVELS = 8
# Candidates that go on from each level when the bound excludes fewer; the last number serves all later levels.
KEPT = (48, 8, 4, 2, 1)
# Enough once every particle has a pose, whose neighbourhood is searched as well.
KEPT_LATER = (16, 6, 3, 2, 1)


@dataclass(frozen=True)
class Level:
    """One level.

    Attributes:
        step_deg, shift_step_px: of its grid.
        radius: Fourier radius compared.
        keep: most candidates that go on to the next level.
        phase: what half a step of rotation and half a step of shift, together, turn the particle's rim by in the
            outermost shell compared, in radians.
    """

    step_deg: float
    shift_step_px: float
    radius: int
    keep: int
    phase: float


def make_levels(
    box_px: int,
    diameter_px: float,
    align_shell: int,
    healpix_order: int,
    shift_step_px: float,
    kept: tuple[int, ...] = KEPT,
    kept_at_the_end: int = 1,
) -> tuple[Level, ...]:
    """Levels from a grid of ``healpix_order`` down to steps too small to matter at ``align_shell``.

    Args:
        box_px: box size.
        diameter_px: of the particle.
        align_shell: last shell that is compared at all.
        healpix_order: of level 0, whose step is ``60 / 2**order`` degrees.
        shift_step_px: of level 0.
        kept: most candidates of each level, and ``kept_at_the_end`` of the last.
    """
    levels: list[Level] = []
    for number in range(_MOST_LEVELS):
        step_deg = 60.0 / 2.0 ** (healpix_order + number)
        # phase at shell k of the rim, moved by half a step
        per_shell = 2.0 * math.pi / box_px * diameter_px / 2.0 * math.radians(step_deg) / 2.0
        allowed = _PHASE_WITHIN_LEVEL if number else _PHASE_ON_THE_GRID
        radius = min(align_shell, max(_LEAST_SHELL, round(allowed / per_shell), *(level.radius for level in levels)))
        shift_step = shift_step_px / 2.0**number
        phase = radius * math.hypot(per_shell, math.pi * shift_step / box_px)
        levels.append(Level(step_deg, shift_step, radius, kept[min(number, len(kept) - 1)], phase))
        if radius == align_shell and per_shell * align_shell <= _PHASE_AT_THE_END:
            break
    levels[-1] = replace(levels[-1], keep=kept_at_the_end)
    return tuple(levels)
