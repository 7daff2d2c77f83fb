"""Two fingerprints of machines, field by field: the same, or different in what can change numbers or times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from cryorepro.model.base import Record
from cryorepro.model.fingerprint import ProbeResult
from cryorepro.model.strict_yaml import load_record

Effect = Literal["science", "performance", "neither"]
_STRONGEST: tuple[Effect, ...] = ("science", "performance", "neither")


class Rule(Record):
    """What a difference in the fields that match ``pattern`` can change, and why."""

    pattern: str
    effect: Effect
    reason: str
    within_percent: float | None = Field(None, gt=0, le=50)


class Otherwise(Record):
    """For fields no rule speaks of."""

    effect: Effect
    reason: str


class Rules(Record):
    """The rule table; ``version`` is raised with every change of its meaning."""

    version: int = Field(ge=1)
    rules: tuple[Rule, ...]
    otherwise: Otherwise

    def effect(self, field: str, left: Any, right: Any) -> tuple[Effect, str]:
        """What a difference of ``field`` (``PROBE.NAME…``) can change, and the reason."""
        for rule in self.rules:
            if fnmatchcase(field, rule.pattern):
                if rule.within_percent is not None and _close(left, right, rule.within_percent):
                    return "neither", f"{rule.reason}; within {rule.within_percent:g}%"
                return rule.effect, rule.reason
        return self.otherwise.effect, self.otherwise.reason


class Difference(Record):
    """One field that differs; None stands for a field that one side does not have."""

    field: str
    effect: Effect
    left: Any
    right: Any
    reason: str


class FingerprintDiff(Record):
    """All fields of two fingerprints: how many are the same, and each that differs."""

    rules_version: int
    same: int
    differs: tuple[Difference, ...]

    def with_effect(self, effect: Effect) -> list[Difference]:
        """The differences that can change ``effect``."""
        return [row for row in self.differs if row.effect == effect]

    @property
    def comparable_times(self) -> bool:
        """Whether nothing differs that can change times."""
        return all(row.effect == "neither" for row in self.differs)


@cache
def rules() -> Rules:
    """The table that ships with cryorepro."""
    return load_record(Path(__file__).with_name("fingerprint_rules.yaml"), Rules)


def diff_fingerprints(
    first: Sequence[ProbeResult], second: Sequence[ProbeResult], table: Rules | None = None
) -> FingerprintDiff:
    """Compare field by field; the strongest effects first.

    A probe that failed or is absent on one side gives one row, with the strongest effect among the fields the
    other side has: what was not read cannot be called the same.
    """
    table = table or rules()
    left, right = ({probe.name: probe for probe in side} for side in (first, second))
    same = 0
    rows: list[Difference] = []
    for name in sorted(left.keys() | right.keys()):
        one, other = left.get(name), right.get(name)
        states = [_state(one), _state(other)]
        if states == ["ok", "ok"] and one and other:
            count, found = _fields(flat_probe(one), flat_probe(other), table)
            same, rows = same + count, rows + found
        elif states[0] == states[1]:
            rows.append(_unread(name, states, [], table))
        else:
            readable = one if states[0] == "ok" else other
            rows.append(_unread(name, states, flat_probe(readable) if readable else [], table))
    rows.sort(key=lambda row: (_STRONGEST.index(row.effect), row.field))
    return FingerprintDiff(rules_version=table.version, same=same, differs=tuple(rows))


def flat_probe(probe: ProbeResult) -> dict[str, Any]:
    """The probe's data as dotted names; items of lists of records are named by their index or name."""
    flat: dict[str, Any] = {}
    _flatten(probe.data, probe.name, flat)
    return flat


def _fields(left: Mapping[str, Any], right: Mapping[str, Any], table: Rules) -> tuple[int, list[Difference]]:
    same = 0
    rows: list[Difference] = []
    for field in sorted(left.keys() | right.keys()):
        one, other = left.get(field), right.get(field)
        if one == other and (field in left) == (field in right):
            same += 1
            continue
        effect, reason = table.effect(field, one, other)
        rows.append(Difference(field=field, effect=effect, left=one, right=other, reason=reason))
    return same, rows


def _unread(name: str, states: list[str], fields: Iterable[str], table: Rules) -> Difference:
    effects = [table.effect(field, None, None)[0] for field in fields] or [table.effect(f"{name}.", None, None)[0]]
    strongest = min(effects, key=_STRONGEST.index)
    reason = "this probe has no reading to compare"
    return Difference(field=name, effect=strongest, left=states[0], right=states[1], reason=reason)


def _state(probe: ProbeResult | None) -> str:
    if probe is None:
        return "absent"
    return "ok" if probe.status == "ok" else f"failed: {probe.error}"


def _flatten(value: Any, prefix: str, flat: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _flatten(item, f"{prefix}.{key}", flat)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for key, item in zip(_keys(value), value, strict=True):
            _flatten(item, f"{prefix}.{key}", flat)
    else:
        flat[prefix] = value


def _keys(items: list[Mapping[str, Any]]) -> list[str]:
    """``index`` when every item has one, else ``name`` when these are distinct, else the position."""
    for label in ("index", "name"):
        keys = [str(item[label]) for item in items if label in item]
        if len(set(keys)) == len(items):
            return keys
    return [str(position) for position in range(len(items))]


def _close(left: Any, right: Any, percent: float) -> bool:
    numbers = [value for value in (left, right) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < 2:
        return False
    return bool(abs(numbers[0] - numbers[1]) <= percent / 100.0 * max(abs(number) for number in numbers))


def list_difference(left: Any, right: Any) -> tuple[list[Any], list[Any]] | None:
    """What two long lists (processor flags) have apart; None when they are not lists of plain values."""
    if not (isinstance(left, list) and isinstance(right, list)):
        return None
    one, other = ([item for item in a if item not in b] for a, b in ((left, right), (right, left)))
    return one, other
