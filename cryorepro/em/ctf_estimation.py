"""CTF of a micrograph: spectrum, fit, indicators, and how defocus varies over the field."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cryorepro.em.ctf_estimation_quality import FaultLimits, Quality, assess, faults
from cryorepro.em.ctf_estimation_search import (
    Defocus,
    Optics,
    SearchRange,
    background_basis,
    fit_defocus,
    without_background,
)
from cryorepro.em.ctf_estimation_spectrum import FourierPixels, TileSpectra, default_tile_px, tile_spectra
from cryorepro.em.errors import InputError

_OF_NYQUIST = 0.97
_RINGS_FOLLOWED_TO_ANGSTROM = 2.0  # beyond, finely sampled detectors would only cost memory
_LOCAL_STEP_ANGSTROM, _LOCAL_REACH_ANGSTROM = 20.0, 1500.0
_FEWEST_TILES = 9


@dataclass(frozen=True)
class CtfSettings:
    """What a fit looks at; ``tile_px`` None is a tile of 768 Angstrom."""

    optics: Optics
    pixel_size_angstrom: float
    tile_px: int | None = None
    lowest_resolution_angstrom: float = 30.0
    highest_resolution_angstrom: float = 5.0
    searched: SearchRange = field(default_factory=SearchRange)
    limits: FaultLimits = field(default_factory=FaultLimits)

    @property
    def fitted_to(self) -> float:
        """Highest frequency of the fit, in 1/Angstrom."""
        return min(1.0 / self.highest_resolution_angstrom, _OF_NYQUIST * 0.5 / self.pixel_size_angstrom)

    def pixels(self) -> FourierPixels:
        """Every Fourier pixel that is measured.

        Raises:
            InputError: resolutions, pixel and tile leave too little between them.
        """
        tile, lowest = self.tile_px or default_tile_px(self.pixel_size_angstrom), 1.0 / self.lowest_resolution_angstrom
        if (self.fitted_to - lowest) * tile * self.pixel_size_angstrom < 16 or self.searched_nothing:
            raise InputError(
                f"a CTF cannot be fitted from {self.lowest_resolution_angstrom:g} to "
                f"{self.highest_resolution_angstrom:g} A in tiles of {tile} pixels of {self.pixel_size_angstrom:g} A "
                f"with defocus {self.searched.lowest_defocus_angstrom:g} to "
                f"{self.searched.highest_defocus_angstrom:g} A."
            )
        followed = min(1.0 / _RINGS_FOLLOWED_TO_ANGSTROM, _OF_NYQUIST * 0.5 / self.pixel_size_angstrom)
        return FourierPixels.between(tile, self.pixel_size_angstrom, lowest, max(followed, self.fitted_to))

    @property
    def searched_nothing(self) -> bool:
        """Whether the range of defocus is empty."""
        return self.searched.highest_defocus_angstrom - self.searched.lowest_defocus_angstrom < 200.0


@dataclass(frozen=True)
class DefocusPlane:
    """Mean defocus over the field: ``centre + gradient . (x, y)``, pixels counted from the micrograph's middle."""

    centre_angstrom: float
    gradient_x_angstrom_per_px: float
    gradient_y_angstrom_per_px: float


@dataclass(frozen=True)
class CtfFit:
    """What was found; ``faults`` names why a micrograph is unusable, ``plane`` is None for too small a field."""

    defocus: Defocus
    quality: Quality
    faults: list[str]
    plane: DefocusPlane | None


def estimate_ctf(image: Tensor, settings: CtfSettings) -> CtfFit:
    """Fit the CTF of a micrograph ``[rows, columns]`` of finite pixels, on its device.

    Raises:
        InputError: the micrograph is flat or smaller than a tile, or the settings leave nothing to fit.
    """
    spectra = tile_spectra(image, settings.pixels().to(image.device))
    log_power, (low, kept) = spectra.log_power(), spectra.pixels.below(settings.fitted_to)
    searched = settings.searched
    found = fit_defocus(log_power[kept], low, settings.optics, searched)
    quality = assess(log_power, spectra.pixels, settings.optics, found, settings.fitted_to)
    limits = (searched.lowest_defocus_angstrom, searched.highest_defocus_angstrom)
    named = faults(quality, found, *limits, settings.limits)
    middle = torch.tensor([image.shape[1] / 2, image.shape[0] / 2], dtype=torch.float64)
    plane = None if named else defocus_plane(spectra, settings, found, middle)
    return CtfFit(found, quality, named, plane)


def defocus_plane(spectra: TileSpectra, settings: CtfSettings, fit: Defocus, middle: Tensor) -> DefocusPlane | None:
    """The plane whose defocus agrees best with all tiles; astigmatism and phase shift stay as they are.

    Every tile is correlated with models around the fitted defocus; a plane is fitted to the tiles' best defoci,
    weighted by how sharp their maxima are. None with fewer than nine tiles, or where the tiles lie in a line.
    """
    if len(spectra.centres) < _FEWEST_TILES or bool((spectra.centres.std(dim=0) < 1.0).any()):
        return None
    pixels, kept = spectra.pixels.below(settings.fitted_to)
    offsets = torch.arange(-_LOCAL_REACH_ANGSTROM, _LOCAL_REACH_ANGSTROM + 1, _LOCAL_STEP_ANGSTROM, dtype=torch.float64)
    basis = background_basis(pixels)
    squared, along = pixels.frequency**2, fit.along(pixels.azimuth)
    envelope, shift = torch.exp(-0.5 * max(fit.envelope_angstrom2, 0.0) * squared), math.radians(fit.phase_shift_deg)
    # one tile's power is exponentially distributed, its logarithm is what has constant variance
    data = without_background(torch.log(spectra.power[:, kept].double().clamp(min=1e-12)), basis)
    scores = []
    for offset in offsets.tolist():
        model = without_background(
            envelope * torch.sin(settings.optics.phase(squared, along + offset, shift)) ** 2, basis
        )
        scores.append(data @ (model / model.norm()))
    best, weight = _maxima(torch.stack(scores, dim=1).cpu(), offsets)
    away = spectra.centres - middle
    # tiles that found another ring altogether pull a plain least-squares plane: three reweightings by distance
    for _ in range(4):
        height, slope_x, slope_y = _weighted_plane(away, best, weight)
        residual = best - height - slope_x * away[:, 0] - slope_y * away[:, 1]
        weight = weight / (1.0 + (residual / 300.0) ** 2)
    return DefocusPlane(fit.mean_angstrom + height, slope_x, slope_y)


def _weighted_plane(places: Tensor, values: Tensor, weight: Tensor) -> tuple[float, float, float]:
    """Least-squares plane (height at the origin, slopes in x and y) through ``values [m]`` at ``places [m, 2]``.

    By its normal equations about the centroid: library solvers of least squares give last bits that depend on where in
    memory their work space lies.
    """
    share = weight / weight.sum()
    centre, mean = (places * share[:, None]).sum(dim=0), float((values * share).sum())
    x, y = (places - centre).unbind(1)
    xx, xy, yy = (float((share * a * b).sum()) for a, b in ((x, x), (x, y), (y, y)))
    xv, yv = (float((share * a * values).sum()) for a in (x, y))
    determinant = xx * yy - xy**2
    slope_x, slope_y = (xv * yy - yv * xy) / determinant, (yv * xx - xv * xy) / determinant
    return mean - slope_x * float(centre[0]) - slope_y * float(centre[1]), slope_x, slope_y


def _maxima(scores: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Place of every row's maximum by a parabola through three points, and its curvature as a weight."""
    at = scores.argmax(dim=1).clamp(1, len(offsets) - 2)
    rows = torch.arange(len(scores))
    left, top, right = scores[rows, at - 1], scores[rows, at], scores[rows, at + 1]
    curvature = (2.0 * top - left - right).clamp(min=1e-9)
    moved = (0.5 * (right - left) / curvature).clamp(-1.0, 1.0)
    return offsets[at] + moved * float(offsets[1] - offsets[0]), curvature
