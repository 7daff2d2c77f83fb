"""A micrograph made ready for picking: cropped in Fourier space to a coarse pixel, low-passed, particles bright.

Pixels are in units of the deviation that white noise alone would have in the band, so that the local power of a
pick means the same in every micrograph of one dose. That noise is measured where specimens scatter least: at the
corner of Fourier space, by the second difference ``(a - b - c + d) / 2`` of neighbouring pixels (Immerkaer, Comput.
Vis. Image Underst. 64 (1996) 300, uses a longer one), which leaves white noise its variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.errors import InputError

_SAMPLES_OF_NOISE = 1_000_000
_HOT_QUANTILE = 0.999
_NO_NOISE = 1e-8
_FLAT = 1e-6
_EDGE_OF_LOWPASS = 0.1
_LEAST_SIDE_PX = 16
_BLOCKS_PER_SIDE = 24


@dataclass(frozen=True)
class Band:
    """What is kept of a micrograph, in Angstrom: the coarse pixel asked for, and the low-pass."""

    pixel_size_angstrom: float
    lowpass_angstrom: float

    def weights(self, frequency: Tensor) -> Tensor:
        """Filter at frequencies in 1/Angstrom: half at the low-pass, a soft edge of a tenth of it to either side."""
        end = 1.0 / self.lowpass_angstrom
        width = _EDGE_OF_LOWPASS * end
        return 0.5 + 0.5 * torch.cos(math.pi * ((frequency - end + width) / (2.0 * width)).clamp(0.0, 1.0))


@dataclass(frozen=True)
class Prepared:
    """A micrograph ready for picking.

    Attributes:
        image: ``[rows, columns]`` float32, particles bright, mean 0, in units of the band's noise.
        pixel_size_angstrom: Of the image.
        scale: Pixels of the micrograph per pixel of the image, along (x, y); pixel 0 is pixel 0 of both.
        noise_known: False where the micrograph has no noise at high frequency (it was filtered); the unit is then
            the image's own deviation.
    """

    image: Tensor
    pixel_size_angstrom: float
    scale: tuple[float, float]
    noise_known: bool


def prepare(micrograph: Tensor, pixel_size_angstrom: float, band: Band, *, dark_particles: bool = True) -> Prepared:
    """Bring a micrograph ``[rows, columns]`` of finite pixels to the band's pixel size, as near as even sides allow.

    Raises:
        InputError: the micrograph is flat or smaller than 16 coarse pixels, or too coarse for the band's low-pass.
    """
    source = micrograph.float()
    if band.lowpass_angstrom < 2.0 * (1.0 + _EDGE_OF_LOWPASS) * max(pixel_size_angstrom, band.pixel_size_angstrom):
        coarsest = max(pixel_size_angstrom, band.pixel_size_angstrom)
        raise InputError(f"a low-pass at {band.lowpass_angstrom:g} A needs finer pixels than {coarsest:g} A")
    sides = [_coarse_side(side, pixel_size_angstrom / band.pixel_size_angstrom) for side in source.shape]
    if min(sides) < _LEAST_SIDE_PX:
        raise InputError(f"a micrograph of {source.shape[1]} x {source.shape[0]} pixels is too small to pick from")
    mean = float(source.mean())
    source = source - mean
    deviation = float(source.std())
    if not deviation > _FLAT * max(1.0, abs(mean)):
        raise InputError("the micrograph is flat")
    source = _level(source.mul_((-1.0 if dark_particles else 1.0) / deviation))
    image, share = _cropped(source, sides, pixel_size_angstrom, band)
    noise = _noise_variance(source) * share
    noise_known = noise > _NO_NOISE
    unit = noise**0.5 if noise_known else float(image.std())
    scale = (source.shape[1] / sides[1], source.shape[0] / sides[0])
    return Prepared(image / unit, pixel_size_angstrom * math.sqrt(scale[0] * scale[1]), scale, noise_known)


def _coarse_side(side: int, ratio: float) -> int:
    """Even number of coarse pixels, at most as many as there are."""
    return min(2 * round(side * ratio / 2.0), side - side % 2)


def _level(source: Tensor) -> Tensor:
    """The same tensor without its slope: ice gets thicker, and a transform would see a step at the border.

    The slope is the median difference of blocks a quarter of a side apart, which an edge of carbon hardly moves.
    """
    rows, columns = source.shape
    block = max(1, min(rows, columns) // _BLOCKS_PER_SIDE)
    means = torch.nn.functional.avg_pool2d(source[None, None], block)[0, 0]
    down, across = max(1, means.shape[0] // 4), max(1, means.shape[1] // 4)
    along_y = (means[down:] - means[:-down]).median() / (block * down)
    along_x = (means[:, across:] - means[:, :-across]).median() / (block * across)
    y = torch.arange(rows, dtype=source.dtype, device=source.device) - 0.5 * (rows - 1)
    x = torch.arange(columns, dtype=source.dtype, device=source.device) - 0.5 * (columns - 1)
    return source.sub_((along_y * y)[:, None]).sub_((along_x * x)[None])


def _cropped(source: Tensor, sides: list[int], pixel: float, band: Band) -> tuple[Tensor, float]:
    """The filtered coarse image, and the share of white noise's variance that it keeps."""
    rows, columns = sides
    part = torch.fft.rfft(source, dim=1)[:, : columns // 2 + 1]
    spectrum = torch.fft.fft(part.contiguous(), dim=0)
    half = rows // 2
    spectrum = torch.cat([spectrum[:half], spectrum[-half:]])
    fy = torch.fft.fftfreq(source.shape[0], pixel, device=source.device)
    fx = torch.fft.rfftfreq(source.shape[1], pixel, device=source.device)[: columns // 2 + 1]
    fy = torch.cat([fy[:half], fy[-half:]])
    weights = band.weights(torch.hypot(fx[None], fy[:, None]))
    # the coarse Nyquist lines stand for two frequencies at once; the mean carries nothing
    weights[half], weights[:, -1], weights[0, 0] = 0.0, 0.0, 0.0
    shrunk = rows * columns / (source.shape[0] * source.shape[1])
    image = torch.fft.irfft2(spectrum * weights, s=(rows, columns)) * shrunk
    both = 2.0 * weights.double().square().sum() - weights[:, 0].double().square().sum()
    return image, float(both) / (source.shape[0] * source.shape[1])


def _noise_variance(source: Tensor) -> float:
    """Variance of white noise by second differences of neighbours, hot pixels held at a high quantile."""
    step = max(1, math.isqrt(source.numel() // _SAMPLES_OF_NOISE))
    rows = slice(0, source.shape[0] - 1, step)
    below = slice(1, source.shape[0], step)
    across, down = source[rows], source[below]
    difference = 0.5 * (across[:, :-1] - across[:, 1:] - down[:, :-1] + down[:, 1:])
    squares = difference[:, ::step].square().flatten()
    rank = max(1, int(_HOT_QUANTILE * squares.numel()))
    return float(squares.clamp(max=float(squares.kthvalue(rank).values)).mean(dtype=torch.float64))
