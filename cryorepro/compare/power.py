"""How often the equivalence test decides, and which way: exact up to quadrature, no simulation.

With a true difference d and standard error e on f degrees of freedom, the estimate is normal about d and its own
standard error is e * sqrt(chi2_f / f), independent of it. The chances are the integral over the latter of normal
probabilities (Owen 1965, Biometrika 52:437, writes the same integral as a bivariate non-central t).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cryorepro.compare.equivalence import Band, t_quantile

_NODES = 96
ENOUGH = 0.8
MOST_RUNS = 1000


@dataclass(frozen=True)
class Chances:
    """Probabilities of the three answers; they add up to one."""

    inside: float
    outside: float

    @property
    def open(self) -> float:
        """Neither."""
        return max(0.0, 1.0 - self.inside - self.outside)

    @property
    def decided(self) -> float:
        """Either."""
        return self.inside + self.outside


def chances(shift: float, standard_error: float, df: float, band: Band) -> Chances:
    """What the test answers when the true difference is ``shift``; all in the outcome's unit."""
    import numpy as np
    from scipy.special import ndtr  # type: ignore[import-untyped,unused-ignore]

    if standard_error <= 0:
        return Chances(float(band.holds(shift)), float(not band.holds(shift)))
    reach, weight = _standard_errors(df, standard_error, band)
    half = t_quantile(df) * reach
    low, high = (np.full_like(half, bound) for bound in (band.lowest, band.highest))

    def below(limit: Any) -> Any:
        return ndtr((limit - shift) / standard_error)

    inside = np.clip(below(high - half) - below(low + half), 0.0, None)
    outside = (1.0 - below(high + half)) + below(low - half)
    return Chances(float(np.sum(weight * inside)), float(np.sum(weight * outside)))


def group_chances(shift: float, sd: float, n: int, band: Band) -> Chances:
    """For a group of ``n`` runs with run-to-run SD ``sd`` against a fixed figure."""
    return chances(shift, sd / math.sqrt(n), n - 1, band)


def runs_to_decide(shift: float, sd: float, have: int, band: Band) -> int | None:
    """How many more runs make a decision, either way, 80 % likely, if ``shift`` and ``sd`` are what they seem.

    None: not even 1,000 runs would, because the shift sits on the margin.
    """
    low, high = max(have, 1), MOST_RUNS
    if group_chances(shift, sd, high, band).decided < ENOUGH:
        return None
    while high - low > 1:  # more runs decide more often
        middle = (low + high) // 2
        if group_chances(shift, sd, middle, band).decided < ENOUGH:
            low = middle
        else:
            high = middle
    return high - have


def _standard_errors(df: float, standard_error: float, band: Band) -> tuple[Any, Any]:
    """Nodes of the estimated standard error and their weights, split where accepting becomes impossible."""
    import numpy as np
    from scipy.special import chdtri, gammaln

    least, most = (math.sqrt(float(chdtri(df, tail)) / df) for tail in (1.0 - 1e-12, 1e-14))
    kink = band.margin / (t_quantile(df) * standard_error)
    edges = sorted({least, most, *(edge for edge in (kink,) if least < edge < most)})
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    points = np.concatenate([(b - a) / 2 * nodes + (a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)])
    widths = np.concatenate([(b - a) / 2 * weights for a, b in zip(edges, edges[1:], strict=False)])
    log_density = (
        math.log(2.0)
        + df / 2 * math.log(df / 2)
        - gammaln(df / 2)
        + (df - 1) * np.log(np.maximum(points, 1e-300))
        - df / 2 * points**2
    )
    weight = widths * np.exp(log_density)
    return points * standard_error, weight / weight.sum()
