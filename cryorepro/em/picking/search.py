"""Particles of one micrograph: the best template at every place, its peaks, and what each pick is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.ctf import CtfParameters
from cryorepro.em.devices.halving import with_size_that_fits
from cryorepro.em.devices.memory import free_bytes
from cryorepro.em.picking.blob_templates import blob_templates
from cryorepro.em.picking.contamination import usable_pixels
from cryorepro.em.picking.correlation import AT_ONCE, best_of, make_field
from cryorepro.em.picking.image_templates import References, TemplatePlan
from cryorepro.em.picking.micrograph import Band, Prepared, prepare
from cryorepro.em.picking.peaks import find_peaks
from cryorepro.em.picking.picks import Picks

_LEAST_COVERAGE = 0.5
_PIXELS_PER_DIAMETER = 12.0
_PIXELS_PER_LOWPASS = 2.5
_BYTES_PER_PIXEL_AND_TEMPLATE = 32
_USABLE = 0.5


@dataclass(frozen=True)
class PickSettings:
    """How particles are searched for; lengths in Angstrom.

    Attributes:
        smallest_diameter, largest_diameter: Of the particles.
        lowpass: What is finer is not compared.
        lowest_ncc: Peaks below are left out.
        least_distance: Between two picks; 0.8 of the smallest diameter when None.
        edge: Picks nearer to the micrograph's border are left out.
        most: At most so many picks a micrograph, the best ones; None for all.
        dark_particles: As in a micrograph of underfocused protein.
        mask_contamination: Leave out large areas of ice, carbon or nothing.
    """

    smallest_diameter: float
    largest_diameter: float
    lowpass: float = 20.0
    lowest_ncc: float = 0.2
    least_distance: float | None = None
    edge: float = 0.0
    most: int | None = None
    dark_particles: bool = True
    mask_contamination: bool = True

    def band(self, pixel_size_angstrom: float) -> Band:
        """The coarse pixel and the low-pass for micrographs of this pixel size."""
        coarse = min(self.smallest_diameter / _PIXELS_PER_DIAMETER, self.lowpass / _PIXELS_PER_LOWPASS)
        return Band(max(coarse, pixel_size_angstrom), self.lowpass)


@dataclass(frozen=True)
class Found:
    """Picks of a micrograph, the share of it that was masked, and whether power has its unit (see `micrograph`)."""

    picks: Picks
    masked_share: float
    noise_known: bool


@dataclass(frozen=True)
class _Bank:
    """Templates of one support, made when needed, with what each stands for: psi, class and diameter ``[k]``."""

    support: Tensor
    chunks: Callable[[], Iterable[Tensor]]
    psi_deg: Sequence[float]
    classes: Sequence[int]
    diameter: float


def pick_blobs(micrograph: Tensor, pixel_size_angstrom: float, settings: PickSettings, shapes: frozenset[str]) -> Found:
    """Pick ``micrograph [rows, columns]`` with blobs of these shapes and of every diameter of the range.

    The search runs on the micrograph's device; masks and peaks are found on the CPU.

    Raises:
        InputError: the micrograph is flat, too small, or too coarse for the low-pass.
    """
    prepared = prepare(
        micrograph, pixel_size_angstrom, settings.band(pixel_size_angstrom), dark_particles=settings.dark_particles
    )
    pixel, (smallest, largest) = prepared.pixel_size_angstrom, (settings.smallest_diameter, settings.largest_diameter)
    blobs = blob_templates(smallest, largest, shapes, pixel, settings.lowpass)
    banks = [_Bank(b.support, partial(iter, [b.templates]), b.angles_deg, b.shapes, b.diameter_angstrom) for b in blobs]
    return _search(prepared, pixel_size_angstrom, settings, banks)


def pick_templates(
    micrograph: Tensor,
    pixel_size_angstrom: float,
    settings: PickSettings,
    references: References,
    step_deg: float,
    ctf: CtfParameters | None,
) -> Found:
    """Pick with images of the particle in every in-plane rotation, times the micrograph's CTF if that is given.

    The support is a disc of 1.2 times the largest diameter.

    Raises:
        InputError: as `pick_blobs`.
    """
    prepared = prepare(
        micrograph, pixel_size_angstrom, settings.band(pixel_size_angstrom), dark_particles=settings.dark_particles
    )
    plan = TemplatePlan(prepared.pixel_size_angstrom, settings.lowpass, settings.largest_diameter, step_deg)
    psi, classes = plan.labels(references)
    there = references.to(micrograph.device)
    bank = _Bank(plan.support(), lambda: plan.templates(there, ctf), psi, classes, settings.largest_diameter)
    return _search(prepared, pixel_size_angstrom, settings, [bank])


@dataclass(frozen=True)
class _Best:
    """The best template at every pixel: coefficient, power under it, and the numbers of its bank and of itself."""

    ncc: Tensor
    power: Tensor
    bank: Tensor
    template: Tensor


def _search(prepared: Prepared, pixel: float, settings: PickSettings, banks: list[_Bank]) -> Found:
    usable = np.ones(tuple(prepared.image.shape), dtype=bool)
    if settings.mask_contamination:
        usable = usable_pixels(prepared.image, prepared.pixel_size_angstrom, settings.largest_diameter)
    there = torch.from_numpy(usable).to(prepared.image.device)
    best = with_size_that_fits(
        lambda at_once: _best(prepared.image, there, banks, at_once),
        templates_at_once(prepared.image),
        1,
        prepared.image.device,
        "templates at once",
    )
    distance = 0.8 * settings.smallest_diameter if settings.least_distance is None else settings.least_distance
    at, between = find_peaks(
        best.ncc.numpy(),
        usable & _inside(prepared, pixel, settings.edge),
        lowest=settings.lowest_ncc,
        least_distance_px=distance / prepared.pixel_size_angstrom,
        most=settings.most,
    )
    y, x = at[:, 1], at[:, 0]
    chosen = [(banks[b], t) for b, t in zip(best.bank[y, x].tolist(), best.template[y, x].tolist(), strict=True)]
    picks = Picks(
        between * np.array(prepared.scale),
        best.ncc[y, x].double().numpy(),
        best.power[y, x].double().numpy(),
        np.array([bank.psi_deg[t] for bank, t in chosen], dtype=np.float64),
        np.array([bank.classes[t] for bank, t in chosen], dtype=np.int64),
        np.array([bank.diameter for bank, _ in chosen], dtype=np.float64),
    )
    return Found(picks, float(1.0 - usable.mean()), prepared.noise_known)


def templates_at_once(image: Tensor) -> int:
    """How many templates are compared with ``image`` together: on a GPU what its free memory allows."""
    most = AT_ONCE[image.device.type]
    if image.device.type == "cpu":
        return most
    each = _BYTES_PER_PIXEL_AND_TEMPLATE * image.numel()
    return max(1, min(most, int(_USABLE * free_bytes(image.device)) // each))


def _best(image: Tensor, usable: Tensor, banks: list[_Bank], at_once: int) -> _Best:
    """The best template at every pixel of ``image``, on the CPU; -1 where half of every support is unknown."""
    ncc, power = torch.full_like(image, -1.0), torch.zeros_like(image)
    of_bank, which = torch.zeros_like(image).long(), torch.zeros_like(image).long()
    for number, bank in enumerate(banks):
        field = make_field(image, usable, bank.support.to(image))
        value, template = best_of(field, bank.chunks(), at_once)
        better = torch.where(field.coverage > _LEAST_COVERAGE, value, torch.full_like(value, -1.0)) > ncc
        ncc, power = torch.where(better, value, ncc), torch.where(better, field.variance, power)
        of_bank, which = torch.where(better, number, of_bank), torch.where(better, template, which)
    return _Best(ncc.cpu(), power.cpu(), of_bank.cpu(), which.cpu())


def _inside(prepared: Prepared, pixel: float, edge_angstrom: float) -> NDArray[np.bool_]:
    """Coarse pixels at least ``edge_angstrom`` from every border."""
    rows, columns = prepared.image.shape
    inside = []
    for count, scale in ((rows, prepared.scale[1]), (columns, prepared.scale[0])):
        place = np.arange(count) * scale * pixel
        inside.append((place >= edge_angstrom) & (place <= (count * scale - 1) * pixel - edge_angstrom))
    return np.asarray(inside[0][:, None] & inside[1][None])
