"""Refinement of defocus, astigmatism and beam tilt of particles whose poses are known.

One micrograph is one task: its particles are read and projected, and defocus (per particle) and astigmatism (per
micrograph) are fitted in turn. Signal scale and noise come from all particles of an optics group at the CTFs of the
round before; two rounds suffice. Phase shifts, Cs and amplitude contrast stay as they are. The targets are those of
Zivanov, Nakane & Scheres, IUCrJ 7 (2020) 253.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cryorepro.em.ctf_refine_data import Observed, Observer, ShellSums, Weights, weights_of
from cryorepro.em.ctf_refine_defocus import Scan, fit_astigmatism, fit_defocus
from cryorepro.em.ctf_refine_inputs import Micrograph
from cryorepro.em.ctf_refine_optics import Optics
from cryorepro.em.ctf_refine_plane import Floats, Plane, Sums
from cryorepro.em.ctf_refine_sums import TermSums, common_overlap, pixel_sums
from cryorepro.em.ctf_refine_tilt import TiltFit, fit_tilt, tilt_basis

ROUNDS = 2
_ALTERNATIONS = 3
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CtfRefineOptions:
    """What is fitted, and within which range of defocus and astigmatism in Angstrom."""

    defocus: bool = True
    astigmatism: bool = True
    beam_tilt: bool = True
    trefoil: bool = False
    range_angstrom: float = 2000.0


@dataclass(frozen=True)
class CtfRefined:
    """Refined parameters of all particles.

    Attributes:
        optics: what the table now says.
        at_limit: bool ``[n]``, particles that kept their defocus because no minimum lay within the range.
        tilts: change of beam tilt per optics group, None where it was not fitted.
    """

    optics: Optics
    at_limit: Flags
    tilts: Sequence[TiltFit | None]


@dataclass(frozen=True)
class _Scans:
    """What all particles of one wavelength share: rates of phase per Angstrom, and scans over them."""

    by_term: Floats
    by_pixel: Floats
    defocus: Scan
    astigmatism: Scan

    @classmethod
    def of(cls, plane: Plane, wavelength_angstrom: float, limit: float) -> _Scans:
        by_term, by_pixel = plane.term_rates(wavelength_angstrom), plane.rates(wavelength_angstrom)
        return cls(by_term, by_pixel, Scan(by_term, limit), Scan(by_pixel[1:], 0.5 * limit))


@dataclass(frozen=True)
class _State:
    """What all micrographs start a round from; ``tilt_phase [g, n]`` is phi of the tilts found so far."""

    optics: Optics
    weights: Weights | None
    tilt_phase: Floats
    scans: dict[float, _Scans]


@dataclass(frozen=True)
class _Done:
    """What one task gives back."""

    optics: Optics
    at_limit: Flags
    sums: ShellSums
    overlap: Sums | None


def refine_ctf(
    observer: Observer, micrographs: Sequence[Micrograph], groups: int, options: CtfRefineOptions, workers: int = 1
) -> CtfRefined:
    """Refine the CTFs of all particles.

    Args:
        observer: images, poses and maps.
        micrographs: every particle once.
        groups: number of optics groups.
        options: what to fit.
        workers: threads; results do not depend on their number.
    """
    optics, plane = observer.particles.optics, observer.plane
    at_limit = np.zeros(len(observer.particles), dtype=bool)
    wavelengths = {optics.select(where.index[:1]).wavelength_angstrom for where in micrographs}
    scans = {length: _Scans.of(plane, length, options.range_angstrom) for length in wavelengths}
    tilts: list[TiltFit | None] = [None] * groups
    state = _State(optics, None, np.zeros((groups, len(plane))), scans)
    for _ in range(ROUNDS + 1):

        def task(number: int, state: _State = state) -> _Done:
            return _refine_micrograph(observer, number, micrographs[number], state, options)

        defocus = state.optics.defocus_angstrom.copy()
        totals: list[ShellSums | None] = [None] * groups
        overlaps = np.zeros((groups, len(plane)), dtype=np.complex128)
        for where, done in zip(micrographs, _in_order(task, len(micrographs), workers), strict=True):
            defocus[where.index], at_limit[where.index] = done.optics.defocus_angstrom, done.at_limit
            before = totals[where.group]
            totals[where.group] = done.sums if before is None else before + done.sums
            if done.overlap is not None:
                overlaps[where.group] += done.overlap
        optics, phases = replace(optics, defocus_angstrom=defocus), state.tilt_phase
        if options.beam_tilt:
            tilts, phases = _tilts(observer, micrographs, overlaps, (tilts, phases), options.trefoil)
        state = _State(optics, weights_of(totals), phases, scans)
    return CtfRefined(optics, at_limit, tilts)


def _in_order(task: Callable[[int], _Done], count: int, workers: int) -> Iterator[_Done]:
    """Results in order of their tasks; numpy lets several threads calculate at once."""
    if workers == 1:
        yield from map(task, range(count))
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(task, range(count))


def _refine_micrograph(
    observer: Observer, number: int, where: Micrograph, state: _State, options: CtfRefineOptions
) -> _Done:
    """Fit one micrograph, then sum what the next round's weights and the beam tilt need."""
    plane, weights = observer.plane, state.weights
    seen = observer.observe(where.index, number).turned(state.tilt_phase[where.group])
    optics = state.optics.select(where.index)
    if weights is None:
        return _Done(optics, np.zeros(len(where.index), dtype=bool), _shell_sums(seen, optics, plane), None)
    problem = _Problem(seen, plane, weights, where.group, state.scans[optics.wavelength_angstrom])
    optics, at_limit = problem.fitted(optics, options)
    overlap = (
        common_overlap(seen, optics, plane) * problem.of_pixels(problem.cross_factor) if options.beam_tilt else None
    )
    return _Done(optics, at_limit, _shell_sums(seen, optics, plane), overlap)


def _shell_sums(seen: Observed, optics: Optics, plane: Plane) -> ShellSums:
    return TermSums.of(seen, optics, plane).by_shell(seen, plane)


@dataclass(frozen=True)
class _Problem:
    """One micrograph's particles with what turns them into a likelihood."""

    seen: Observed
    plane: Plane
    weights: Weights
    group: int
    scans: _Scans

    @property
    def power_factor(self) -> Floats:
        """``[t]``: s^2 / sigma2."""
        return self.weights.of_power(self.group)[self.plane.term_shell]

    @property
    def cross_factor(self) -> Floats:
        """``[t]``: s / sigma2."""
        return self.weights.of_cross(self.group)[self.plane.term_shell]

    def of_pixels(self, by_term: Floats) -> Floats:
        """``[n]`` of ``[t]``."""
        return np.repeat(by_term, self.plane.term_pixels)

    def fitted(self, optics: Optics, options: CtfRefineOptions) -> tuple[Optics, Flags]:
        """CTFs after astigmatism and defocus were fitted in turn, and who kept their defocus."""
        at_limit = np.zeros(self.seen.power.shape[1], dtype=bool)
        for alternation in range(_ALTERNATIONS if options.astigmatism else 1):
            if options.astigmatism:
                optics = self._with_common_astigmatism(optics, options.defocus, scan=alternation == 0)
            if options.defocus:
                optics, at_limit = self._with_own_defocus(optics)
        return optics, at_limit

    def _with_common_astigmatism(self, optics: Optics, defocus: bool, *, scan: bool) -> Optics:
        double, single = pixel_sums(self.seen, optics, self.plane)
        double, single = double * self.of_pixels(self.power_factor), single * self.of_pixels(self.cross_factor)
        change = fit_astigmatism(double, single, self.scans.by_pixel, self.scans.astigmatism if scan else None)
        if not defocus:
            change[0] = 0.0
        return optics.changed(change)

    def _with_own_defocus(self, optics: Optics) -> tuple[Optics, Flags]:
        sums = TermSums.of(self.seen, optics, self.plane).weighted(self.power_factor, self.cross_factor)
        fit = fit_defocus(*sums, self.scans.by_term, self.scans.defocus)
        return optics.changed(np.pad(fit.change[:, None], ((0, 0), (0, 2)))), fit.at_limit


def _tilts(
    observer: Observer,
    micrographs: Sequence[Micrograph],
    overlaps: Sums,
    earlier: tuple[Sequence[TiltFit | None], Floats],
    trefoil: bool,
) -> tuple[list[TiltFit | None], Floats]:
    """Tilts and phases of all groups, the new on top of the earlier; groups without data or Cs keep theirs."""
    tilts, phases = list(earlier[0]), earlier[1].copy()
    optics = observer.particles.optics
    for group, first in {where.group: int(where.index[0]) for where in reversed(micrographs)}.items():
        voltage, aberration = float(optics.voltage_kv[first]), float(optics.spherical_aberration_mm[first])
        if aberration > 0.0 and bool((np.abs(overlaps[group]) > 0).any()):
            fit, phase = fit_tilt(overlaps[group], tilt_basis(observer.plane, voltage, aberration, trefoil))
            tilts[group] = fit.beyond(tilts[group])
            phases[group] += phase
    return tilts, phases
