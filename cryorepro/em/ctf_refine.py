"""Refinement of defocus, astigmatism and beam tilt of particles whose poses are known.

One micrograph is one task: its particles are read and projected, and defocus (per particle) and astigmatism (per
micrograph) are fitted in turn. Signal scale and noise come from all particles of an optics group at the CTFs of the
round before; two rounds suffice. Phase shifts, Cs and amplitude contrast stay as they are. The targets are those of
Zivanov, Nakane & Scheres, IUCrJ 7 (2020) 253.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.ctf import CtfParameters, wavelengths_angstrom
from cryorepro.em.ctf_refine_data import Observed, Observer, ShellSums, Weights, row_index
from cryorepro.em.ctf_refine_defocus import fit_astigmatism, fit_defocus, harmonics, phase_per_angstrom
from cryorepro.em.ctf_refine_tilt import TiltFit, common_overlap, fit_tilt, tilt_basis
from cryorepro.em.parallel import map_in_order

ROUNDS = 2
_ALTERNATIONS = 3
_REFINED = ("defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_deg")
Array = NDArray[Any]


@dataclass(frozen=True)
class CtfRefineOptions:
    """What is fitted, and within which range of defocus and astigmatism in Angstrom."""

    defocus: bool = True
    astigmatism: bool = True
    beam_tilt: bool = True
    trefoil: bool = False
    range_angstrom: float = 2000.0


@dataclass(frozen=True)
class Micrograph:
    """Particles of one micrograph and one optics group (position in the table of groups)."""

    index: Tensor
    group: int


@dataclass(frozen=True)
class CtfRefined:
    """Refined parameters of all particles.

    Attributes:
        ctf: what the table now says.
        at_limit: bool ``[n]``, particles that kept their defocus because no minimum lay within the range.
        tilts: change of beam tilt per optics group, None where it was not fitted.
    """

    ctf: CtfParameters
    at_limit: Tensor
    tilts: Sequence[TiltFit | None]


@dataclass(frozen=True)
class _State:
    """What all micrographs start a round from; ``tilt_phase [g, n]`` is phi of the tilts found so far."""

    ctf: CtfParameters
    weights: Weights | None
    tilt_phase: Tensor


@dataclass(frozen=True)
class _Done:
    """What one task gives back: numpy arrays, because it may come from another process."""

    defocus: Array
    at_limit: Array
    sums: Sequence[Array]
    overlap: Array


def refine_ctf(
    observer: Observer, micrographs: Sequence[Micrograph], groups: int, options: CtfRefineOptions, workers: int = 1
) -> CtfRefined:
    """Refine the CTFs of all particles.

    Args:
        observer: images, poses and maps.
        micrographs: every particle once.
        groups: number of optics groups.
        options: what to fit.
        workers: processes; results do not depend on their number.
    """
    ctf = observer.images.ctf
    at_limit = torch.zeros(len(observer.images), dtype=torch.bool)
    weights: Weights | None = None
    tilts: list[TiltFit | None] = [None] * groups
    tilt_phase = torch.zeros(groups, len(observer.plane), dtype=torch.float64)
    for _ in range(ROUNDS + 1):
        state = _State(ctf, weights, tilt_phase)

        def task(number: int, state: _State = state) -> _Done:
            return _refine_micrograph(observer, micrographs[number], state, options)

        totals: list[ShellSums | None] = [None] * groups
        overlaps = torch.zeros(groups, len(observer.plane), dtype=torch.complex128)
        for where, done in zip(micrographs, map_in_order(task, len(micrographs), workers), strict=True):
            ctf = _merged(ctf, where.index, torch.from_numpy(done.defocus))
            at_limit[where.index] = torch.from_numpy(done.at_limit)
            sums = ShellSums(*(torch.from_numpy(part) for part in done.sums))
            before = totals[where.group]
            totals[where.group] = sums if before is None else before + sums
            overlaps[where.group] += torch.from_numpy(done.overlap)
        weights = _weights(totals)
        if options.beam_tilt:
            tilts, tilt_phase = _tilts(observer, micrographs, overlaps, (tilts, tilt_phase), options.trefoil)
    return CtfRefined(ctf, at_limit, tilts)


def _refine_micrograph(observer: Observer, where: Micrograph, state: _State, options: CtfRefineOptions) -> _Done:
    """Fit one micrograph, then sum what the next round's weights and the beam tilt need."""
    weights = state.weights
    seen = observer.observe(where.index).turned(state.tilt_phase[where.group])
    optics = state.ctf.select(where.index)
    at_limit = torch.zeros(len(where.index), dtype=torch.bool)
    overlap = torch.zeros(len(observer.plane), dtype=torch.complex128)
    if weights is not None:
        optics, at_limit = _fit(observer, seen, optics, where.group, weights, options)
    if weights is not None:
        overlap = common_overlap(seen, optics, observer, weights.cross_factor(where.group, observer.plane))
    sums = ShellSums.of(seen, optics, observer)
    return _Done(
        torch.stack([getattr(optics, name) for name in _REFINED], dim=1).numpy(),
        at_limit.numpy(),
        [part.numpy() for part in (sums.cross, sums.power, sums.image, sums.pixels)],
        overlap.numpy(),
    )


@dataclass(frozen=True)
class _Problem:
    """One micrograph's particles with the factors that turn them into a likelihood, ``[n]`` each."""

    observer: Observer
    seen: Observed
    power_factor: Tensor
    cross_factor: Tensor
    rates: Tensor

    def blocks(self, optics: CtfParameters) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Power, overlap and CTF phase of some rows at a time."""
        for rows, cross, power in self.seen.blocks():
            phase = self.observer.phase(optics.select(row_index(rows)))
            yield power * self.power_factor, cross.real * self.cross_factor, phase


def _fit(
    observer: Observer, seen: Observed, optics: CtfParameters, group: int, weights: Weights, options: CtfRefineOptions
) -> tuple[CtfParameters, Tensor]:
    plane = observer.plane
    wavelength = float(wavelengths_angstrom(optics.voltage_kv[:1])[0])
    rates = phase_per_angstrom(plane, wavelength, observer.images.pixel_size_angstrom)
    factors = weights.power_factor(group, plane), weights.cross_factor(group, plane)
    problem = _Problem(observer, seen, *factors, rates)
    at_limit = torch.zeros(seen.power.shape[0], dtype=torch.bool)
    for alternation in range(_ALTERNATIONS if options.astigmatism else 1):
        if options.astigmatism:
            optics = _with_common_astigmatism(problem, optics, options, scan=alternation == 0)
        if options.defocus:
            optics, at_limit = _with_own_defocus(problem, optics, options)
    return optics, at_limit


def _with_common_astigmatism(
    problem: _Problem, optics: CtfParameters, options: CtfRefineOptions, *, scan: bool
) -> CtfParameters:
    sums = torch.zeros(2, problem.rates.shape[1], dtype=torch.complex128)
    for power, cross, phase in problem.blocks(optics):
        sums += harmonics(power, cross, phase)
    change = fit_astigmatism(sums, problem.rates, 0.5 * options.range_angstrom if scan else None)
    if not options.defocus:
        change[0] = 0.0
    return changed(optics, change.expand(problem.seen.power.shape[0], 3))


def _with_own_defocus(
    problem: _Problem, optics: CtfParameters, options: CtfRefineOptions
) -> tuple[CtfParameters, Tensor]:
    plane = problem.observer.plane
    squared = plane.kx**2 + plane.ky**2
    fits = [
        fit_defocus(power, cross, phase, problem.rates[0], squared, options.range_angstrom)
        for power, cross, phase in problem.blocks(optics)
    ]
    change = torch.cat([fit.change for fit in fits])
    return changed(optics, torch.nn.functional.pad(change[:, None], (0, 2))), torch.cat([f.at_limit for f in fits])


def changed(optics: CtfParameters, change_angstrom: Tensor) -> CtfParameters:
    """CTFs with ``change_angstrom [b, 3]`` added to mean defocus and to its parts along cos 2a and sin 2a."""
    mean = 0.5 * (optics.defocus_u_angstrom + optics.defocus_v_angstrom) + change_angstrom[:, 0]
    half = 0.5 * (optics.defocus_u_angstrom - optics.defocus_v_angstrom)
    twice = torch.deg2rad(2.0 * optics.defocus_angle_deg)
    along = half * torch.cos(twice) + change_angstrom[:, 1]
    across = half * torch.sin(twice) + change_angstrom[:, 2]
    size = torch.hypot(along, across)
    angle = torch.rad2deg(0.5 * torch.atan2(across, along)) % 180.0
    return replace(optics, defocus_u_angstrom=mean + size, defocus_v_angstrom=mean - size, defocus_angle_deg=angle)


def _merged(ctf: CtfParameters, index: Tensor, defocus: Tensor) -> CtfParameters:
    """``ctf`` with the columns of ``defocus [b, 3]`` at ``index``."""
    columns = {name: getattr(ctf, name).clone() for name in _REFINED}
    for number, values in enumerate(columns.values()):
        values[index] = defocus[:, number]
    return replace(ctf, **columns)


def _weights(totals: Sequence[ShellSums | None]) -> Weights:
    present = next(total for total in totals if total is not None)
    neutral = torch.zeros_like(present.power), torch.ones_like(present.power)
    pairs = [neutral if total is None else total.signal_and_noise() for total in totals]
    return Weights(torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs]))


def _tilts(
    observer: Observer,
    micrographs: Sequence[Micrograph],
    overlaps: Tensor,
    earlier: tuple[Sequence[TiltFit | None], Tensor],
    trefoil: bool,
) -> tuple[list[TiltFit | None], Tensor]:
    """Tilts and phases of all groups, the new on top of the earlier; groups without data or Cs keep theirs."""
    tilts, phases = list(earlier[0]), earlier[1].clone()
    ctf, pixel = observer.images.ctf, observer.images.pixel_size_angstrom
    for group, first in {where.group: int(where.index[0]) for where in reversed(micrographs)}.items():
        voltage, aberration = float(ctf.voltage_kv[first]), float(ctf.spherical_aberration_mm[first])
        if aberration > 0.0 and bool((overlaps[group].abs() > 0).any()):
            basis = tilt_basis(observer.plane, pixel, voltage, aberration, trefoil)
            fit, phase = fit_tilt(overlaps[group], basis)
            tilts[group] = fit.beyond(tilts[group])
            phases[group] += phase
    return tilts, phases
