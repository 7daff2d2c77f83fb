"""A counting detector: its gain, its defects, and Poisson counts.

A corrected frame is the counts times the gain reference: a pixel of gain g counts 1 / g of the electrons that hit it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.uint8]
_LEVELS_PER_MEAN = 128
_BRIGHTEST = 3.0
_DRAWS = 1 << 16
_GAIN_QUANTUM = 2.0**-14


@dataclass(frozen=True)
class Detector:
    """One detector.

    Attributes:
        gain: float32 [rows, columns], mean about 1; 0 in known defects.
        defects: Rectangles (x, y, width, height) of pixels known to be dead; they count nothing.
        hot_px: int64 [m, 2], (x, y) of pixels that nobody knows to be stuck.
        hot_counts: int64 [m], what each of them counts in every frame, give or take a few.
    """

    gain: NDArray[np.float32]
    defects: list[tuple[int, int, int, int]]
    hot_px: NDArray[np.int64]
    hot_counts: NDArray[np.int64]

    def expose(self, expected: Floats, mean: float, table: Counts, stream: np.random.Generator) -> Counts:
        """Counts uint8 of one frame whose pixels receive ``expected`` electrons, ``mean`` of them on average."""
        sensitivity = np.divide(1.0, self.gain, out=np.zeros(self.gain.shape), where=self.gain > 0)
        level = np.rint(expected * sensitivity * (_LEVELS_PER_MEAN / mean)).astype(np.int64)
        np.clip(level, 0, len(table) - 1, out=level)
        level *= _DRAWS
        level += stream.integers(0, _DRAWS, self.gain.shape, dtype=np.uint16)
        counts: Counts = table.reshape(-1)[level]
        counts[self.gain == 0] = 0
        hot = self.hot_counts + stream.integers(-3, 4, len(self.hot_counts))
        counts[self.hot_px[:, 1], self.hot_px[:, 0]] = np.clip(hot, 0, 127)
        return counts


def poisson_table(mean: float) -> Counts:
    """Quantiles of Poisson distributions, uint8 [levels, 65536]; level l has mean ``l * mean / 128``.

    A count is looked up by 16 random bits: exact to 2^-17 in probability, one draw for one pixel whatever the count,
    and so the same on machines whose sines differ in the last place.
    """
    levels = int(_BRIGHTEST * _LEVELS_PER_MEAN) + 1
    means = np.arange(levels) * (mean / _LEVELS_PER_MEAN)
    highest = int(_BRIGHTEST * mean + 12.0 * np.sqrt(_BRIGHTEST * mean) + 12.0)
    table = np.zeros((levels, _DRAWS), dtype=np.uint8)
    for row, expected in zip(table, means, strict=True):
        number = np.arange(1, highest + 1)
        ratios = np.concatenate([[1.0], np.cumprod(expected / number)])
        cumulative = np.cumsum(ratios) / ratios.sum()
        places = np.rint(cumulative * _DRAWS).astype(np.int64)
        row[:] = np.repeat(np.arange(highest + 1), np.diff(places, prepend=0))
    return table


def make_detector(
    stream: np.random.Generator, shape: tuple[int, int], roughness: float, hot: int, defects: int, hot_counts: int
) -> Detector:
    """Draw a detector of ``shape`` (rows, columns).

    Pixels differ by ``roughness`` (standard deviation), columns and quadrants by a part of that, and the sensitivity
    falls towards the corners.
    """
    rows, columns = shape
    y, x = np.indices(shape)
    gain = 1.0 + roughness * stream.standard_normal(shape)
    gain += 0.5 * roughness * stream.standard_normal(columns)[None]
    gain += roughness * stream.standard_normal((2, 2))[(y >= rows // 2).astype(int), (x >= columns // 2).astype(int)]
    gain += 0.04 * (((x / columns - 0.5) ** 2 + (y / rows - 0.5) ** 2) * 2.0 - 0.3)
    gain = np.rint(np.clip(gain / gain.mean(), 0.5, 2.0) / _GAIN_QUANTUM) * _GAIN_QUANTUM
    rectangles = [_defect(stream, shape, number) for number in range(defects)]
    for left, top, width, height in rectangles:
        gain[top : top + height, left : left + width] = 0.0
    places = stream.permutation(rows * columns)[: 2 * hot]
    places = places[gain.ravel()[places] > 0][:hot]
    hot_px = np.stack([places % columns, places // columns], axis=1)
    levels = stream.integers(hot_counts // 2, hot_counts + 1, len(hot_px))
    return Detector(gain.astype(np.float32), rectangles, hot_px, levels)


def _defect(stream: np.random.Generator, shape: tuple[int, int], number: int) -> tuple[int, int, int, int]:
    """A dead column or row in turn, over a part of the detector."""
    along_y = number % 2 == 0
    length = int(stream.integers(shape[0 if along_y else 1] // 4, shape[0 if along_y else 1] // 2))
    across = int(stream.integers(1, 3))
    width, height = (across, length) if along_y else (length, across)
    left = int(stream.integers(8, shape[1] - width - 8))
    top = int(stream.integers(8, shape[0] - height - 8))
    return left, top, width, height
