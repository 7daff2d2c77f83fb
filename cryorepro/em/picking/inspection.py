"""Which picks are kept: declared limits on correlation and local power, or limits that the picks themselves suggest.

Coefficients of true and false picks make two heaps that lean towards each other. ``valley`` takes the least density
between them: a kernel estimate is widened until it has at most two maxima (Silverman, J. R. Stat. Soc. B 43 (1981)
97), mirrored at the lowest value, where the search cut the false ones off. ``otsu`` takes the largest variance between
the two sides (Otsu, IEEE Trans. SMC 9 (1979) 62). Both need false picks to be among those given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.picking.tables import PickTable

Floats = NDArray[np.float64]
KEPT = "kept"
AUTOMATIC = ("valley", "otsu")
_FEWEST_PICKS, _LEAST_SHARE = 20, 0.02
_GRID, _BINS = 512, 256
_FIRST_WIDTH_OF_RANGE, _WIDER = 0.015, 1.15
_POWER_DEVIATIONS = 4.0
_NORMAL_MAD = 0.6745


@dataclass(frozen=True)
class Limits:
    """``lowest_ncc <= ncc`` and ``lowest_power <= power <= highest_power``; None leaves a side open."""

    lowest_ncc: float | None = None
    lowest_power: float | None = None
    highest_power: float | None = None

    def reasons(self, ncc: Floats, power: Floats) -> list[str]:
        """``kept``, or which limits every pick breaks; what is not a number breaks every limit on it."""
        checks: list[tuple[str, NDArray[np.bool_]]] = []
        with np.errstate(invalid="ignore"):
            if self.lowest_ncc is not None:
                checks.append((f"NCC below {self.lowest_ncc:.4g}", ~(ncc >= self.lowest_ncc)))
            if self.lowest_power is not None:
                checks.append((f"power below {self.lowest_power:.4g}", ~(power >= self.lowest_power)))
            if self.highest_power is not None:
                checks.append((f"power above {self.highest_power:.4g}", ~(power <= self.highest_power)))
        rows = range(len(ncc))
        return ["; ".join(words for words, broken in checks if broken[row]) or KEPT for row in rows]


def automatic_limits(table: PickTable, rule: str, given: Limits) -> Limits:
    """Limits found in all picks together by ``valley`` or ``otsu``; those ``given`` stand.

    Powers are kept within four robust deviations of the median, on a logarithmic scale, of the picks whose coefficient
    is kept.

    Raises:
        InputError: there are too few picks, or they carry no coefficient or no power.
    """
    ncc, power = table.joined("ncc"), table.joined("power")
    if len(ncc) < _FEWEST_PICKS:
        raise InputError(f"{table.source}: {len(ncc)} picks are too few to find limits in; give limits.")
    if not (np.isfinite(ncc).all() and (power > 0).all()):
        raise InputError(f"{table.source}: a pick has no correlation or no local power; give limits instead.")
    lowest = given.lowest_ncc
    if lowest is None:
        lowest = valley(ncc) if rule == "valley" else otsu(ncc)
    heap = np.log(power[ncc >= lowest]) if lowest is not None else np.log(power)
    middle = float(np.median(heap))
    spread = _POWER_DEVIATIONS * max(float(np.median(np.abs(heap - middle))) / _NORMAL_MAD, 1e-3)
    low, high = float(np.exp(middle - spread)), float(np.exp(middle + spread))
    return Limits(
        lowest,
        low if given.lowest_power is None else given.lowest_power,
        high if given.highest_power is None else given.highest_power,
    )


def valley(values: Floats) -> float | None:
    """The least density between two heaps of values; None where there is only one, or the lower is next to nothing."""
    lowest, highest = float(values.min()), float(values.max())
    if not highest > lowest:
        return None
    grid = np.linspace(lowest, highest, _GRID)
    mirrored = np.concatenate([values, 2.0 * lowest - values])
    width = _FIRST_WIDTH_OF_RANGE * (highest - lowest)
    while True:
        density = _density(grid, mirrored, width)
        tops = _maxima(density)
        if len(tops) <= 2:
            break
        width *= _WIDER
    if len(tops) < 2:
        return None
    found = float(grid[tops[0] + int(density[tops[0] : tops[1]].argmin())])
    return found if float((values < found).mean()) >= _LEAST_SHARE else None


def _density(grid: Floats, values: Floats, width: float) -> Floats:
    """Gaussian kernel estimate on the grid, not normalised; values are counted in steps of the grid first."""
    step = grid[1] - grid[0]
    places = np.rint((values - grid[0]) / step).astype(np.int64) + _GRID
    counts = np.bincount(places, minlength=2 * _GRID).astype(np.float64)
    reach = np.arange(2 * _GRID) - _GRID
    return np.asarray(np.exp(-0.5 * ((np.arange(_GRID)[:, None] - reach[None]) * step / width) ** 2) @ counts)


def _maxima(density: Floats) -> NDArray[np.int64]:
    """Places of local maxima, the first place included."""
    before = np.concatenate([[-np.inf], density[:-1]])
    after = np.concatenate([density[1:], [-np.inf]])
    return np.flatnonzero((density > before) & (density >= after))


def otsu(values: Floats) -> float:
    """The threshold with the largest variance between the values below and above it."""
    counts, edges = np.histogram(values, _BINS)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][int(np.nanargmax(between))])
