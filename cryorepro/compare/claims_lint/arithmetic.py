"""Rule: a figure that its source worked out from others follows from them, within the rounding of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

from cryorepro.compare.claims_lint.finding import Finding, Record
from cryorepro.compare.claims_lint.rounding import Interval, interval
from cryorepro.model.claim import Claim, Derivation

# Between two steps a program is started and reads its options: 1.3 s for four steps at most in the record.
SECONDS_BETWEEN_STEPS = 1.0


def check_arithmetic(record: Record) -> Iterator[Finding]:
    """Products, ratios, sums, means, spreads and largest values that do not follow from their terms."""
    for claim in record.claims.values():
        derived = claim.derived
        if derived is None or not derived.of:
            continue
        unknown = [name for name in derived.of if name not in record.claims]
        if unknown:
            yield Finding("arithmetic", (claim.id,), f"its term '{unknown[0]}' is not among the claims")
            continue
        terms = [record.claims[name] for name in derived.of]
        result = evaluate(derived, [interval(term) for term in terms])
        if not result.overlaps(interval(claim)):
            yield _finding(record, claim, derived, terms, result)


def evaluate(derived: Derivation, terms: Sequence[Interval]) -> Interval:
    """The values the formula can give for terms that are known to within their rounding."""
    return _FORMULAS[derived.kind](terms).scaled(derived.factor)


def _product(terms: Sequence[Interval]) -> Interval:
    return Interval(prod(term.low for term in terms), prod(term.high for term in terms))


def _ratio(terms: Sequence[Interval]) -> Interval:
    above, below = terms
    return Interval(above.low / below.high, above.high / below.low if below.low > 0 else float("inf"))


def _sum(terms: Sequence[Interval]) -> Interval:
    slack = SECONDS_BETWEEN_STEPS * len(terms)
    return Interval(sum(term.low for term in terms), sum(term.high for term in terms) + slack)


def _difference(terms: Sequence[Interval]) -> Interval:
    above, below = terms
    return Interval(above.low - below.high, above.high - below.low)


def _mean(terms: Sequence[Interval]) -> Interval:
    return Interval(sum(term.low for term in terms) / len(terms), sum(term.high for term in terms) / len(terms))


def _spread(terms: Sequence[Interval]) -> Interval:
    mean = _mean(terms)
    least = max(max(term.low for term in terms) - min(term.high for term in terms), 0.0)
    most = max(term.high for term in terms) - min(term.low for term in terms)
    return Interval(least / mean.high, most / mean.low if mean.low > 0 else float("inf"))


def _max(terms: Sequence[Interval]) -> Interval:
    return Interval(max(term.low for term in terms), max(term.high for term in terms))


_FORMULAS: dict[str, Callable[[Sequence[Interval]], Interval]] = {
    "product": _product,
    "ratio": _ratio,
    "sum": _sum,
    "difference": _difference,
    "mean": _mean,
    "spread": _spread,
    "max": _max,
}


def _finding(record: Record, claim: Claim, derived: Derivation, terms: list[Claim], result: Interval) -> Finding:
    given = f"{claim.printed or f'{claim.value:g}'} {'' if claim.printed else claim.unit}".strip()
    message = f"{given} is not the {derived.kind} of its terms, which is {_shown(result)}"
    other = _fits_with(record, claim, derived, terms)
    if other is not None:
        message += f"; it would be with {other.id} ({other.printed or other.value})"
    return Finding("arithmetic", (claim.id, *(term.id for term in terms)), message)


def _shown(result: Interval) -> str:
    low, high = f"{result.low:.4g}", f"{result.high:.4g}"
    return low if low == high else f"{low} to {high}"


def _fits_with(record: Record, claim: Claim, derived: Derivation, terms: list[Claim]) -> Claim | None:
    """Another figure of the same run and quantity with which the arithmetic would add up."""
    for place, term in enumerate(terms):
        for other in record.by_run.get(term.run or "", []):
            if (other.quantity, other.step) != (term.quantity, term.step) or other.id == term.id:
                continue
            changed = [*terms[:place], other, *terms[place + 1 :]]
            if evaluate(derived, [interval(one) for one in changed]).overlaps(interval(claim)):
                return other
    return None
