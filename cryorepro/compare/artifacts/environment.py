"""What the surroundings of two runs have apart, the likeliest cause of different numbers first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryorepro.compare.fingerprints import diff_fingerprints
from cryorepro.model.base import Record
from cryorepro.model.fingerprint import ProbeResult

_SETTINGS = ("seed", "data_seed", "tier", "dataset", "benchmark", "benchmark_version", "device", "cryorepro_version")
_RANKS = ("settings", "parameters", "program", "science", "threads", "performance")


class Suspect(Record):
    """One difference and why it matters; ``rank`` 1 is the likeliest cause."""

    rank: int
    kind: str
    field: str
    left: Any
    right: Any
    reason: str


def rank_suspects(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Suspect]:
    """Everything that differs between two records and can change numbers, then what can change times.

    Settings and parameters come before programs, programs before libraries and instruction sets, those before numbers
    of threads and the rest of the machine; circumstances that decide nothing are left out.
    """
    found: list[tuple[str, str, Any, Any, str]] = []
    for name in _SETTINGS:
        left, right = (record["settings"].get(name) for record in (first, second))
        if left != right:
            reason = "another draw of every random number" if "seed" in name else "another run was asked for"
            found.append(("settings", name, left, right, reason))
    tiers = _mapped(
        "settings", first["settings"], second["settings"], "tier_parameters", "the data were made otherwise"
    )
    found += tiers
    found += _mapped("parameters", first["settings"], second["settings"], "parameters", "another parameter")
    found += _mapped("program", first["settings"], second["settings"], "runners", "another runner")
    found += _programs(first, second)
    threads = [record["settings"].get("threads") for record in (first, second)]
    if threads[0] != threads[1]:
        found.append(("threads", "threads", *threads, "sums in another order, unless the program is deterministic"))
    one, other = ([ProbeResult.model_validate(probe) for probe in record["fingerprint"]] for record in (first, second))
    for row in diff_fingerprints(one, other).differs:
        if row.effect != "neither":
            found.append((row.effect, row.field, row.left, row.right, row.reason))
    found.sort(key=lambda row: _RANKS.index(row[0]))
    return [
        Suspect(rank=rank, kind=kind, field=field, left=left, right=right, reason=reason)
        for rank, (kind, field, left, right, reason) in enumerate(found, start=1)
    ]


def _mapped(
    kind: str, first: Mapping[str, Any], second: Mapping[str, Any], key: str, reason: str
) -> list[tuple[str, str, Any, Any, str]]:
    left, right = (_flat(settings.get(key) or {}) for settings in (first, second))
    names = sorted(left.keys() | right.keys())
    return [
        (kind, f"{key}.{name}", left.get(name), right.get(name), reason)
        for name in names
        if left.get(name) != right.get(name)
    ]


def _programs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, Any, Any, str]]:
    rows = []
    for stage in dict.fromkeys([*first["stages"], *second["stages"]]):
        left, right = (_flat(record["stages"].get(stage, {}).get("program") or {}) for record in (first, second))
        for name in sorted(left.keys() | right.keys()):
            if left.get(name) != right.get(name):
                reason = "another program or version of it"
                rows.append(("program", f"program.{stage}.{name}", left.get(name), right.get(name), reason))
    return rows


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
