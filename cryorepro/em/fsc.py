"""Fourier shell correlation, its crossings, and its correction for the effect of a mask.

A shell holds the coefficients whose distance from the origin rounds to its index; shell ``s`` of a box of
``n`` pixels of ``p`` Angstrom is at ``n * p / s`` Angstrom.  As in RELION every stored coefficient of the
half transform counts once, so that those in the plane kx = 0 count with their Friedel mates: counting each
pair once instead changes a curve by up to 0.02 in small boxes, and curves could not be laid over published
ones.

References: Harauz & van Heel, Optik 73 (1986) 146, for the correlation; Chen et al., Ultramicroscopy 135
(2013) 24, equation 4, for phase randomisation; Rosenthal & Henderson, J. Mol. Biol. 333 (2003) 721, for
0.143.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryorepro.em.errors import InputError
from cryorepro.em.half_spectra import HalfSpectra, masked_fsc_curve
from cryorepro.em.lowpass import Map, Volume, check_cubic
from cryorepro.em.random_phases import randomise_from
from cryorepro.em.shell_sums import by_shell, product_sums, square_sums
from cryorepro.em.transforms import Spectrum, backward, forward

Curve = npt.NDArray[np.float64]
_SAME_MAP = 1.0 - 1e-6


@dataclass(frozen=True)
class Crossing:
    """Where a curve first falls below a threshold.

    ``shell`` is the last shell before that, which is what resolutions are stored and compared as;
    ``interpolated`` lies between it and the next one and is for display.  ``crossed`` is false when the curve
    stays above the threshold up to Nyquist.
    """

    shell: int
    interpolated: float
    crossed: bool

    def angstrom(self, box_px: int, pixel_size_angstrom: float) -> float:
        """Resolution of ``shell`` in Angstrom (infinite for shell 0)."""
        return shell_to_angstrom(self.shell, box_px, pixel_size_angstrom)

    def interpolated_angstrom(self, box_px: int, pixel_size_angstrom: float) -> float:
        """Resolution of the interpolated crossing in Angstrom, for display."""
        return shell_to_angstrom(self.interpolated, box_px, pixel_size_angstrom)


def shell_to_angstrom(shell: float, box_px: int, pixel_size_angstrom: float) -> float:
    """Resolution of a Fourier shell in Angstrom; infinite at the origin."""
    return float("inf") if shell <= 0 else box_px * pixel_size_angstrom / shell


def shell_sums(values: Volume, box_px: int) -> Curve:
    """Sum per-coefficient values ``[n, n, n // 2 + 1]`` over shells 0 to ``n // 2``."""
    return by_shell(square_sums(lambda plane, rows, columns: values[plane, rows, :columns], box_px), box_px)


def check_pair(first: Map, second: Map) -> int:
    """Return the box size of two cubic maps of one size.

    Raises:
        InputError: the maps are not cubes of one size or hold values that are not finite.
    """
    box = check_cubic(first, "first map")
    if check_cubic(second, "second map") != box:
        raise InputError(f"maps of {box} and {second.shape[0]} voxels have no common Fourier shells")
    return box


def fsc_curve(first: Map, second: Map) -> Curve:
    """Fourier shell correlation of two cubic maps of one size, ``[n // 2 + 1]``; 0 in empty shells.

    Maps are transformed in their own precision: float32 maps in single, which changes a curve by about 1e-7.

    Raises:
        InputError: the maps are not cubes of one size or hold values that are not finite.
    """
    check_pair(first, second)
    return fsc_of_spectra(forward(first), forward(second))


def fsc_of_spectra(first: Spectrum, second: Spectrum) -> Curve:
    """`fsc_curve` of two maps by their transforms ``[n, n, n // 2 + 1]``."""
    box = first.shape[0]
    cross = by_shell(product_sums(first, second), box)
    powers = [by_shell(product_sums(spectrum, spectrum), box) for spectrum in (first, second)]
    power = np.sqrt(powers[0] * powers[1])
    return np.asarray(np.divide(cross, power, out=np.zeros_like(cross), where=power > 0.0))


def crossing(curve: Curve, threshold: float) -> Crossing:
    """Find where ``curve`` first falls below ``threshold``, from shell 1 outwards."""
    below = np.flatnonzero(curve[1:] < threshold)
    if below.size == 0:
        last = len(curve) - 1
        return Crossing(shell=last, interpolated=float(last), crossed=False)
    shell = int(below[0])
    above = float(curve[shell]) if shell > 0 else 1.0
    step = (above - threshold) / (above - float(curve[shell + 1]))
    return Crossing(shell=shell, interpolated=shell + min(max(step, 0.0), 1.0), crossed=True)


def randomise_phases(volume: Map, from_shell: int, generator: np.random.Generator) -> Map:
    """Keep the amplitudes of a map but draw the phases anew from shell ``from_shell`` outwards.

    As in RELION the limit is the exact distance from the origin, so the inner half of shell ``from_shell`` keeps its
    phases. The result has the map's precision.
    """
    check_cubic(volume)
    spectrum = forward(volume)
    randomise_from(spectrum, from_shell, generator)
    return backward(spectrum)


def corrected_curve(masked: Curve, randomised: Curve, from_shell: int) -> Curve:
    """Remove the correlation that comes from the mask (Chen et al. 2013, equation 4).

    The correction starts two shells beyond ``from_shell``, because the mask smears shells into each other.
    """
    corrected = masked.copy()
    corrected[0] = 1.0 if corrected[0] <= 0.0 else corrected[0]
    beyond = np.arange(len(masked)) >= from_shell + 2
    usable = beyond & (randomised < 1.0)
    corrected[usable] = (masked[usable] - randomised[usable]) / (1.0 - randomised[usable])
    return corrected


@dataclass(frozen=True)
class MaskedFsc:
    """The four curves of a solvent-corrected resolution, ``[n // 2 + 1]`` each."""

    unmasked: Curve
    masked: Curve
    randomised: Curve
    corrected: Curve
    randomised_from_shell: int


def masked_fsc(
    half1: Map,
    half2: Map,
    mask: Map,
    generator: np.random.Generator,
    randomise_at_fsc: float = 0.8,
    from_shell: int | None = None,
) -> MaskedFsc:
    """Measure the FSC of two half maps, unmasked, masked, with randomised phases and corrected.

    Phases are randomised from ``from_shell`` on, or else from the first shell whose unmasked FSC is below
    ``randomise_at_fsc``.

    Raises:
        InputError: maps and mask are not cubes of one size, or the unmasked curve never falls that low.
    """
    check_pair(half1, half2)
    return masked_fsc_of(HalfSpectra(half1, half2), (half1, half2), mask, generator, randomise_at_fsc, from_shell)


def masked_fsc_of(
    spectra: HalfSpectra,
    halves: tuple[Map, Map],
    mask: Map,
    generator: np.random.Generator,
    randomise_at_fsc: float = 0.8,
    from_shell: int | None = None,
) -> MaskedFsc:
    """`masked_fsc` of half maps whose transforms are there.

    Raises:
        InputError: maps and mask are not of one size, the mask is 0 everywhere, or the unmasked curve never falls
            that low.
    """
    if halves[0].shape != mask.shape:
        raise InputError(f"the mask has shape {mask.shape}, the half maps {halves[0].shape}")
    if not np.any(mask):
        raise InputError("the mask is 0 everywhere")
    start = _start_of_random_phases(spectra.fsc, randomise_at_fsc) if from_shell is None else from_shell
    masked = masked_fsc_curve(*halves, mask)
    randomised = spectra.randomised_masked_fsc(mask, start, generator)
    return MaskedFsc(spectra.fsc, masked, randomised, corrected_curve(masked, randomised, start), start)


def _start_of_random_phases(unmasked: Curve, randomise_at_fsc: float) -> int:
    first = crossing(unmasked, randomise_at_fsc)
    if not first.crossed and float(unmasked.min()) > _SAME_MAP:
        raise InputError("half sets not independent: the two half maps are the same map (FSC 1 to Nyquist)")
    if not first.crossed:
        raise InputError(f"the unmasked FSC never falls below {randomise_at_fsc}: phases cannot be randomised")
    return first.shell + 1
