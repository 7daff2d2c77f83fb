"""When a refinement looks finer, how many shells it uses, and when it has converged: RELION's rules.

The facts are those of RELION's auto-refine (Scheres, J. Struct. Biol. 180 (2012) 519, section 2.6; ml_optimiser.cpp
3.1, updateAngularSampling, updateOverallChangesInHiddenVariables, checkConvergence): the angular step is halved after
an iteration without a gain in resolution and one without smaller changes in the assignments; it is fine enough
below three quarters of the estimated angular accuracy; after that the same two conditions mean convergence, and one
last iteration uses all data to Nyquist.  Lengths are in pixels, where 3.1 takes its largest step of 1.5 in Angstrom.

Changes below 0.4 of a step count as none, the step being that of the grid the refinement began with: in 3.1 the
process that counts is the leader, whose own grid is never refined.  On the finer grids, where the perturbation keeps
assignments moving by about a step, it is the resolution that decides.  The first iteration on a grid never counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_FINE_ENOUGH = 0.75
_STALLED = 1
_CHANGE_TOLERANCE = 1.03
# Changes below this part of the first grid's step count as none.
_SMALL_CHANGE_STEPS = 0.4
_GROWTH_SHELLS = 10
_GROWTH_OF_HALF_BOX = 0.25
_GOOD_PMAX, _GOOD_FSC = 0.1, 0.2
_LARGEST_STEP_PX = 1.5
_RANGE_PER_CHANGE, _LARGEST_RANGE_GROWTH = 5.0, 1.3
_LEAST_RANGE_STEPS, _MOST_RANGE_STEPS = 1.5, 4.0


@dataclass(frozen=True)
class Accuracy:
    """Estimated errors of orientations in degrees and of shifts in pixels."""

    rotation_deg: float
    offset_px: float


@dataclass(frozen=True)
class Changes:
    """Mean change of the assignments in one iteration: degrees and pixels."""

    rotation_deg: float
    offset_px: float


@dataclass(frozen=True)
class Schedule:
    """Where a refinement stands between two iterations.

    ``radius`` is the number of Fourier shells in use, ``best_shell`` the best resolution so far.  From
    ``local_order`` on each particle is searched around its own orientation; ``finest_order`` bounds the grid.
    ``first_step_deg`` and ``first_step_px`` are the steps after oversampling of the first grid, 0 while that is in use.
    """

    healpix_order: int
    oversampling: int
    offset_range_px: float
    offset_step_px: float
    radius: int
    finest_order: int = 7
    local_order: int = 4
    best_shell: int = 0
    without_gain: int = 0
    without_change: int = 0
    smallest_rotation_deg: float = math.inf
    smallest_offset_px: float = math.inf
    fine_enough: bool = False
    converged: bool = False
    first_step_deg: float = 0.0
    first_step_px: float = 0.0

    @property
    def stalled(self) -> bool:
        """Neither the resolution nor the assignments moved lately."""
        return self.without_gain >= _STALLED and self.without_change >= _STALLED

    @property
    def is_local(self) -> bool:
        """Particles are searched around their own orientations."""
        return self.healpix_order >= self.local_order

    @property
    def fine_step_deg(self) -> float:
        """Angular step after oversampling."""
        return 60.0 / 2.0 ** (self.healpix_order + self.oversampling)

    @property
    def first_steps(self) -> tuple[float, float]:
        """Steps in degrees and pixels, after oversampling, of the grid the refinement began with."""
        own = self.fine_step_deg, self.offset_step_px / 2.0**self.oversampling
        return self.first_step_deg or own[0], self.first_step_px or own[1]

    def seen(self, resolution_shell: int, changes: Changes) -> Schedule:
        """Count what an iteration brought."""
        gained = resolution_shell > self.best_shell
        step_deg, step_px = self.first_steps
        settled = (
            math.isfinite(self.smallest_rotation_deg)  # there is an earlier iteration on this grid
            and _is_settled(changes.rotation_deg, self.smallest_rotation_deg, step_deg)
            and _is_settled(changes.offset_px, self.smallest_offset_px, step_px)
        )
        return replace(
            self,
            best_shell=max(self.best_shell, resolution_shell),
            without_gain=0 if gained else self.without_gain + 1,
            without_change=self.without_change + 1 if settled else 0,
            smallest_rotation_deg=min(self.smallest_rotation_deg, changes.rotation_deg),
            smallest_offset_px=min(self.smallest_offset_px, changes.offset_px),
        )

    def advanced(self, accuracy: Accuracy, changes: Changes) -> Schedule:
        """Refine the sampling, or declare convergence, if the last iterations call for it."""
        if not self.stalled:
            return self
        if self.fine_enough:
            return replace(self, converged=True)
        if self.fine_step_deg < _FINE_ENOUGH * accuracy.rotation_deg or self.healpix_order >= self.finest_order:
            return replace(self, fine_enough=True)
        step, reach = self._offsets(accuracy, changes)
        first_step_deg, first_step_px = self.first_steps
        return replace(
            self,
            healpix_order=self.healpix_order + 1,
            offset_step_px=step,
            offset_range_px=reach,
            without_gain=0,
            without_change=0,
            smallest_rotation_deg=math.inf,
            smallest_offset_px=math.inf,
            first_step_deg=first_step_deg,
            first_step_px=first_step_px,
        )

    def _offsets(self, accuracy: Accuracy, changes: Changes) -> tuple[float, float]:
        """Step and range of the next coarse grid of shifts, in pixels."""
        step = min(_LARGEST_STEP_PX, _FINE_ENOUGH * accuracy.offset_px) * 2.0**self.oversampling
        reach = min(_LARGEST_RANGE_GROWTH * self.offset_range_px, _RANGE_PER_CHANGE * changes.offset_px)
        reach = max(reach, _LEAST_RANGE_STEPS * step)
        if reach > _MOST_RANGE_STEPS * step:
            reach /= 2.0
        step = max(step, reach / _MOST_RANGE_STEPS)
        if step > self.offset_step_px:
            return self.offset_step_px, self.offset_range_px
        return step, reach

    def resized(self, box_px: int, resolution_shell: int, mean_pmax: float, fsc_at_limit: float) -> Schedule:
        """Choose the shells of the next iteration."""
        good = mean_pmax > _GOOD_PMAX and fsc_at_limit > _GOOD_FSC
        growth = round(_GROWTH_OF_HALF_BOX * box_px / 2) if good else _GROWTH_SHELLS
        return replace(self, radius=min(box_px // 2, resolution_shell + growth))


def _is_settled(change: float, smallest: float, step: float) -> bool:
    return change < _SMALL_CHANGE_STEPS * step or _CHANGE_TOLERANCE * change >= smallest


def coarse_shell(
    box_px: int, pixel_size_angstrom: float, step_deg: float, particle_diameter_angstrom: float, radius: int
) -> int:
    """Last shell the coarse pass needs: finer ones turn by more than the angular step can follow."""
    resolvable = step_deg / 360.0 * math.pi * particle_diameter_angstrom / 1.2
    return min(radius, math.ceil(box_px * pixel_size_angstrom / resolvable))
