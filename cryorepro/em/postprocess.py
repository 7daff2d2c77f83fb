"""Post-processing of a refined map: solvent-corrected resolution, then sharpening; RELION's steps and rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.fsc import (
    MaskedFsc,
    check_pair,
    crossing,
    masked_fsc_of,
    shell_to_angstrom,
)
from cryorepro.em.half_spectra import HalfSpectra
from cryorepro.em.lowpass import Map
from cryorepro.em.sharpening import Guinier, Sharpening, sharpening_plan

DEFAULT_SHARPENING = Sharpening()


@dataclass(frozen=True)
class PostProcessed:
    """What post-processing gives: the sharpened map, the curves and the numbers behind them."""

    sharpened: Map
    fsc: MaskedFsc
    guinier: Guinier
    resolution_shell: int
    bfactor_angstrom2: float
    mask_fraction: float | None
    box_px: int
    pixel_size_angstrom: float

    @property
    def resolution_angstrom(self) -> float:
        """Resolution where the corrected FSC falls below 0.143, in Angstrom."""
        return shell_to_angstrom(self.resolution_shell, self.box_px, self.pixel_size_angstrom)


def postprocess(
    half1: Map,
    half2: Map,
    mask: Map | None,
    pixel_size_angstrom: float,
    generator: np.random.Generator,
    sharpening: Sharpening = DEFAULT_SHARPENING,
    randomise_at_fsc: float = 0.8,
    randomise_from_angstrom: float | None = None,
) -> PostProcessed:
    """Measure the solvent-corrected resolution of two half maps and sharpen their mean.

    Args:
        half1: unfiltered half map ``[n, n, n]``.
        half2: the other half map.
        mask: soft solvent mask of that shape, values 0 to 1; without one nothing needs correcting. With all three
            maps float32 everything is worked out in single precision.
        pixel_size_angstrom: pixel size.
        generator: source of the random phases.
        sharpening: the steps of the sharpening.
        randomise_at_fsc: phases are randomised from where the unmasked FSC falls below this.
        randomise_from_angstrom: if given, phases are randomised from here instead.

    Raises:
        InputError: shapes differ, the mask leaves the range 0 to 1, the halves do not correlate, or the
            fit has too few shells.
    """
    check_pair(half1, half2)
    spectra = HalfSpectra(half1, half2)
    if mask is None:
        plain = spectra.fsc
        curves = MaskedFsc(plain, plain, np.zeros_like(plain), plain, len(plain))
    else:
        _check_mask(mask)
        start = _start_shell(half1, pixel_size_angstrom, randomise_from_angstrom)
        curves = masked_fsc_of(spectra, (half1, half2), mask, generator, randomise_at_fsc, start)
    resolution_shell = crossing(curves.corrected, 0.143).shell
    if resolution_shell < 1:
        raise InputError("the half maps do not correlate: their FSC is below 0.143 in the first shell")
    plan = sharpening_plan(spectra.mean_amplitudes, len(half1), curves.corrected, pixel_size_angstrom, sharpening)
    return PostProcessed(
        sharpened=spectra.filtered_mean(plan.factors),
        fsc=curves,
        guinier=plan.guinier,
        resolution_shell=resolution_shell,
        bfactor_angstrom2=plan.bfactor_angstrom2,
        mask_fraction=None if mask is None else mask_fraction(mask),
        box_px=half1.shape[0],
        pixel_size_angstrom=pixel_size_angstrom,
    )


def _start_shell(half: Map, pixel_size_angstrom: float, from_angstrom: float | None) -> int | None:
    """Shell of a resolution, rounded as RELION rounds it; None for None."""
    if from_angstrom is None:
        return None
    shell = int(half.shape[0] * pixel_size_angstrom / from_angstrom)
    if not 1 <= shell <= half.shape[0] // 2:
        raise InputError(f"phases cannot be randomised from {from_angstrom:g} A in this box")
    return shell


def _check_mask(mask: Map) -> None:
    good = np.isfinite(mask).all() and mask.min() >= -1e-4 and 0.0 < mask.max() <= 1.0 + 1e-4
    if not good:
        raise InputError("mask: values must lie between 0 and 1 and not all be 0")


def mask_fraction(mask: Map) -> float:
    """Volume of the sphere in the box over 1.1 times the volume inside the mask, the factor RELION writes.

    The mask counts from 0.5.  Written as rlnParticleBoxFractionSolventMask, and used for the estimate of the
    FSC inside the mask from the unmasked one: f FSC / (1 + (f - 1) FSC).
    """
    inside = int(np.count_nonzero(mask > 0.5))
    sphere = 4.0 / 3.0 * np.pi * (mask.shape[0] / 2.0) ** 3
    return float(sphere / (1.1 * max(inside, 1)))
