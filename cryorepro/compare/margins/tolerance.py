"""Normal tolerance intervals: how many SDs hold a share of all further runs, with a stated confidence."""

from __future__ import annotations

import math


def one_sided(n: float, df: float, coverage: float, confidence: float) -> float:
    """Exact factor for one bound, from the non-central t (Natrella 1963, NBS Handbook 91, 2-13)."""
    from scipy.special import nctdtrit, ndtri  # type: ignore[import-untyped,unused-ignore]

    return float(nctdtrit(df, ndtri(coverage) * math.sqrt(n), confidence)) / math.sqrt(n)


def two_sided(n: float, df: float, coverage: float, confidence: float) -> float:
    """Howe's factor for both bounds (Howe 1969, J. Am. Stat. Assoc. 64:610), a few per mille from the exact one."""
    from scipy.special import chdtri, ndtri

    centre = float(ndtri((1 + coverage) / 2)) * math.sqrt(1 + 1 / n)
    return centre * math.sqrt(df / float(chdtri(df, confidence)))
