"""Power spectra of a micrograph's tiles, on the Fourier pixels that a CTF fit looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.devices.halving import with_size_that_fits
from cryorepro.em.errors import InputError

TILE_ANGSTROM = 768.0
"""Side of a tile unless one is given: rings of 5 um of defocus are still several pixels apart at 5 A."""

_BATCH_PIXELS = 2**24


@dataclass(frozen=True)
class FourierPixels:
    """Pixels of a tile's half transform between two frequencies, the lines of zero kx or ky left out.

    Those lines hold detector rows, edges and nothing of the sample. ``frequency`` is in 1/Angstrom, ``azimuth`` in
    rad from x towards y; ``flat`` are places in the flattened half transform; all ``[n]``, float64 or int64.
    """

    tile_px: int
    pixel_size_angstrom: float
    flat: Tensor
    frequency: Tensor
    azimuth: Tensor

    @staticmethod
    def between(tile_px: int, pixel_size_angstrom: float, lowest: float, highest: float) -> FourierPixels:
        """The pixels with ``lowest <= frequency <= highest``, in 1/Angstrom."""
        ky = torch.fft.fftfreq(tile_px, 1.0 / tile_px, dtype=torch.float64)[:, None]
        kx = torch.arange(tile_px // 2 + 1, dtype=torch.float64)[None]
        frequency = torch.hypot(kx, ky) / (tile_px * pixel_size_angstrom)
        wanted = (frequency >= lowest) & (frequency <= highest) & (kx > 0) & (ky != 0)
        flat = wanted.flatten().nonzero()[:, 0]
        azimuth = torch.atan2(ky, kx.expand_as(frequency)).flatten()[flat]
        return FourierPixels(tile_px, pixel_size_angstrom, flat, frequency.flatten()[flat], azimuth)

    def below(self, highest: float) -> tuple[FourierPixels, Tensor]:
        """Those up to ``highest`` (1/Angstrom), and which of these they are, ``[n]`` bool."""
        kept = self.frequency <= highest
        parts = (self.flat[kept], self.frequency[kept], self.azimuth[kept])
        return FourierPixels(self.tile_px, self.pixel_size_angstrom, *parts), kept

    def to(self, device: torch.device) -> FourierPixels:
        """The same pixels on another device."""
        parts = (values.to(device) for values in (self.flat, self.frequency, self.azimuth))
        return FourierPixels(self.tile_px, self.pixel_size_angstrom, *parts)

    @property
    def shell(self) -> Tensor:
        """The shell of every pixel, ``[n]`` int64: its radius in Fourier pixels, rounded."""
        return torch.round(self.frequency * self.tile_px * self.pixel_size_angstrom).long()


@dataclass(frozen=True)
class TileSpectra:
    """Power of every tile at ``pixels``.

    Attributes:
        pixels: Where.
        power: ``[tiles, n]`` float32; the mean over a tile's pixels is 1, so that no dark or bright tile dominates.
        centres: ``[tiles, 2]`` float64, (x, y) in pixels of the micrograph; on the CPU.
    """

    pixels: FourierPixels
    power: Tensor
    centres: Tensor

    def log_power(self, tiles: Tensor | None = None) -> Tensor:
        """Natural logarithm of the mean power ``[n]`` float64 over the given tiles, or all.

        In the logarithm the noise of a spectrum is the same everywhere, so plain sums are the best weights.
        """
        chosen = self.power if tiles is None else self.power[tiles]
        return torch.log(chosen.double().mean(dim=0))


def default_tile_px(pixel_size_angstrom: float) -> int:
    """The smallest multiple of 64 pixels that is at least ``TILE_ANGSTROM`` long."""
    return max(128, 64 * math.ceil(TILE_ANGSTROM / pixel_size_angstrom / 64))


def tile_spectra(image: Tensor, pixels: FourierPixels) -> TileSpectra:
    """Periodograms of half-overlapping tiles under a Hann window (Welch 1967), ``image`` ``[rows, columns]``.

    Tiles that are flat (a masked corner, a beam stop) are left out. Works on the device of image and pixels.

    Raises:
        InputError: the image is smaller than a tile, or every tile is flat.
    """
    size = pixels.tile_px
    if min(image.shape) < size:
        raise InputError(
            f"the micrograph of {image.shape[1]} x {image.shape[0]} pixels is smaller than a tile ({size})."
        )
    batch = max(1, _BATCH_PIXELS // size**2)
    return with_size_that_fits(lambda tiles: _in_batches(image, pixels, tiles), batch, 1, image.device, "tiles at once")


def _in_batches(image: Tensor, pixels: FourierPixels, batch: int) -> TileSpectra:
    size = pixels.tile_px
    starts = [(y, x) for y in _starts(image.shape[0], size) for x in _starts(image.shape[1], size)]
    line = torch.hann_window(size, periodic=True, dtype=torch.float32, device=image.device)
    window = torch.outer(line, line)
    kept, centres = [], []
    for first in range(0, len(starts), batch):
        part = starts[first : first + batch]
        tiles = torch.stack([image[y : y + size, x : x + size] for y, x in part]).double()
        tiles = tiles - tiles.mean(dim=(1, 2), keepdim=True)
        deviation = tiles.std(dim=(1, 2), keepdim=True)
        rough = (deviation > 1e-6 * image.abs().max())[:, 0, 0]
        if not rough.any():
            continue
        transform = torch.fft.rfft2((tiles[rough] / deviation[rough]).float() * window).flatten(1)
        power = transform[:, pixels.flat].abs().square()
        kept.append(power / power.mean(dim=1, keepdim=True))
        centres += [(x + size / 2, y + size / 2) for (y, x), good in zip(part, rough.tolist(), strict=True) if good]
    if not centres:
        raise InputError("the micrograph is flat: every pixel has the same value.")
    return TileSpectra(pixels, torch.cat(kept), torch.tensor(centres, dtype=torch.float64))


def _starts(length: int, size: int) -> list[int]:
    """First pixels of tiles spread evenly, neighbours overlapping by half or a little more."""
    count = 1 if length == size else math.ceil((length - size) / (size / 2)) + 1
    return [round(i * (length - size) / max(count - 1, 1)) for i in range(count)]
