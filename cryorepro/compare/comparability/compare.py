"""Two runs' keys held against each other: comparable, comparable with caveats, or not, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from cryorepro.compare.comparability.keys import Keys
from cryorepro.compare.comparability.rules import Level, RuleTable, rule_table
from cryorepro.model.base import Record

Word = Literal["comparable", "with-caveats", "not-comparable"]


class KeyDifference(Record):
    """One field that differs, what follows from that, and why."""

    field: str
    left: Any
    right: Any
    level: Level
    reason: str


class Comparability(Record):
    """The answer for the results and for the times, each with its reasons."""

    rules_version: int
    science: Word
    performance: Word
    differences: tuple[KeyDifference, ...]

    def reasons(self, part: Literal["science", "performance"], level: Level = "breaks") -> list[str]:
        """``field: reason (left, right)`` for the differences of that weight; the context belongs to the science."""
        heads = ("science", "context") if part == "science" else ("performance",)
        rows = [row for row in self.differences if row.level == level and row.field.partition(".")[0] in heads]
        return [f"{_tail(row.field)}: {row.reason} ({_short(row.left)} | {_short(row.right)})" for row in rows]


def compare_keys(first: Keys, second: Keys, table: RuleTable | None = None) -> Comparability:
    """Hold two runs' keys against each other by the rule table.

    Times are comparable only where the results are.
    """
    table = table or rule_table()
    differences: list[KeyDifference] = []
    for part in ("science", "context", "performance"):
        left, right = (_flat(getattr(keys, part), part) for keys in (first, second))
        for field in sorted(left.keys() | right.keys()):
            if left.get(field) != right.get(field) or (field in left) != (field in right):
                absent = left.get(field) is None or right.get(field) is None
                level, reason = table.rule(field, absent)
                row = KeyDifference(
                    field=field, left=left.get(field), right=right.get(field), level=level, reason=reason
                )
                differences.append(row)
    science = _word(row.level for row in differences if not row.field.startswith("performance."))
    performance = _word(row.level for row in differences if row.field.startswith("performance."))
    if science == "not-comparable":
        performance = "not-comparable"
    return Comparability(
        rules_version=table.version, science=science, performance=performance, differences=tuple(differences)
    )


def _word(levels: Any) -> Word:
    found = set(levels)
    if "breaks" in found:
        return "not-comparable"
    return "with-caveats" if "caveat" in found else "comparable"


def _flat(value: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {} if isinstance(value, Mapping) else {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(_flat(item, f"{prefix}.{key}"))
    return flat


def _tail(field: str) -> str:
    head, _, rest = field.partition(".")
    return rest if head in ("science", "performance") else field


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
