"""Two runs, or two groups of replicates, held against each other on all three axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryorepro.compare.comparability.compare import Comparability, compare_keys
from cryorepro.compare.comparability.keys import known_keys
from cryorepro.compare.equivalence import mean
from cryorepro.compare.judge import shown
from cryorepro.compare.verdict.assurance import assurance
from cryorepro.compare.verdict.hold import Held, hold_groups
from cryorepro.compare.verdict.times import hold_times
from cryorepro.compare.verdict.words import worst
from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark, OutcomeSpec, Tolerance
from cryorepro.model.outcome import AssuranceWord, OutcomeWord, PerformanceWord

Run = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """One outcome of both sides."""

    outcome: str
    theirs: str | None
    here: str | None
    margin: str | None
    word: OutcomeWord
    reason: str
    better: bool = False
    required: bool = True


@dataclass(frozen=True)
class Between:
    """The verdict between two groups: outcome by outcome, and a word for each axis."""

    rows: list[Comparison]
    word: OutcomeWord
    performance: PerformanceWord
    performance_reason: str
    assurance: AssuranceWord
    signed: bool
    comparability: Comparability

    @property
    def caveats(self) -> list[str]:
        """What is to be said beside the verdict."""
        return self.comparability.reasons("science", "caveat")


def compare_groups(benchmark: Benchmark, theirs: Sequence[Run], ours: Sequence[Run]) -> Between:
    """``ours`` held against ``theirs``, within the margins of ``benchmark``.

    Comparability is asked first, of every run here against the other side's first, by the rule table.

    Raises:
        InputError: one side has no run.
    """
    if not theirs or not ours:
        raise InputError("a comparison needs at least one run on either side")
    against = known_keys(theirs[0], benchmark)
    answers = [compare_keys(against, known_keys(record, benchmark)) for record in [*theirs[1:], *ours]]
    order = ("comparable", "with-caveats", "not-comparable")
    found = max(answers, key=lambda answer: (order.index(answer.science), order.index(answer.performance)))
    broken = found.reasons("science") if found.science == "not-comparable" else []
    tier = theirs[0]["settings"]["tier"]
    known = {name for record in (*theirs, *ours) for name in record["outcomes"]}
    specs = [spec for spec in benchmark.outcomes if tier in spec.tiers and spec.name in known]
    rows = [_row(spec, tier, theirs, ours, broken[0] if broken else None) for spec in specs]
    word = worst((row.word for row in rows if row.required), "unverifiable")
    time, why = _times(theirs, ours, found)
    level, signed = assurance(ours, theirs)
    return Between(rows, word, time, why, level, signed, found)


def tolerance_of(spec: OutcomeSpec, tier: str) -> Tolerance | None:
    """The margin that an outcome has on a tier: that of the tier's own expectation, else that of its claim."""
    expected = next((row for name, row in spec.expect.items() if name == tier), None)
    return expected.tolerance if expected else spec.tolerance


def _row(spec: OutcomeSpec, tier: str, theirs: Sequence[Run], ours: Sequence[Run], broken: str | None) -> Comparison:
    left, right = ([record["outcomes"].get(spec.name) for record in side] for side in (theirs, ours))
    tolerance = tolerance_of(spec, tier)
    held = _same(left, right, theirs, ours, tolerance) or hold_groups(left, right, tolerance)
    if broken is not None and held.word not in ("failed", "unverifiable"):
        held = Held("not-comparable", broken)
    margin = f"+-{tolerance.margin:g} {tolerance.unit}" if tolerance else None
    return Comparison(
        spec.name, _shown(left), _shown(right), margin, held.word, held.reason, held.better, spec.required
    )


def _same(
    left: Sequence[Run | None], right: Sequence[Run | None], theirs: Sequence[Run], ours: Sequence[Run],
    tolerance: Tolerance | None,
) -> Held | None:  # fmt: skip
    """The same bytes, or the same numbers from the same seeds of the same program; None when neither."""
    rows = [row for row in (*left, *right) if row is not None and row["status"] == "measured"]
    if len(rows) < len(left) + len(right):
        return None
    values = [float(row["value"]["value"]) for row in rows]
    digests = {tuple(sorted(row["artifacts"].items())) for row in rows}
    if len(digests) == 1 and all(digests) and min(values) == max(values):
        return Held("identical", "the same bytes and the same number", values=tuple(values))
    if len({_drawn(record) for record in (*theirs, *ours)}) > 1:
        return None  # with other seeds or programs, equal numbers are chance
    allowed = (tolerance.numerical if tolerance else None) or 0.0
    if max(values) - min(values) <= allowed:
        text = f"the same seeds and the same number, within {allowed:g}" if allowed else "the same seeds and number"
        return Held("numerical", f"{text}; the files' bytes differ", values=tuple(values))
    return None


def _drawn(record: Run) -> tuple[tuple[Any, ...], ...]:
    """Programs and seeds read back, stage by stage."""
    return tuple(
        (name, stage.get("runner"), stage.get("program", {}).get("name"), stage.get("seed_read_back"))
        for name, stage in sorted(record["stages"].items())
    )


def _times(theirs: Sequence[Run], ours: Sequence[Run], found: Comparability) -> tuple[PerformanceWord, str]:
    if found.performance == "not-comparable":
        reasons = found.reasons("performance") or found.reasons("science")
        return "not-comparable", "; ".join(reasons)
    return hold_times(ours, theirs)


def _shown(rows: Sequence[Run | None]) -> str | None:
    told = [row for row in rows if row is not None and row["status"] == "measured"]
    if len(rows) == 1:
        return shown(told[0]) if told else None
    if not told:
        return None
    numbers = [float(row["value"]["value"]) for row in told]
    return f"{mean(numbers):.4g} {told[0]['value']['unit']}, n = {len(told)} of {len(rows)}"
