"""Records that were forged at random: every one is a finding, none is a crash, and none takes long."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from cryorepro.bundle.verify import verify_bundle
from cryorepro.store.event import GENESIS, canonical_json, sha256_hex
from tests.bundle.forge import Members, forged

TRIALS = 120
_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    -0.0,
    1e300,
    "",
    "x",
    "../..",
    "\u0000",
    "a/b",
    [],
    {},
    [[]],
    {"a": []},
]


def mutate(draw: random.Random, value: Any) -> Any:
    """``value`` with one of its parts replaced, taken out or given twice."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(sorted(value))
        kind = draw.random()
        if kind < 0.1:
            return {name: part for name, part in value.items() if name != key}
        if kind < 0.2:
            return {**value, "extra": draw.choice(_VALUES)}
        return {**value, key: mutate(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        kind = draw.random()
        if kind < 0.1:
            return value[:at] + value[at + 1 :]
        if kind < 0.2:
            return [*value, value[at]]
        return [*value[:at], mutate(draw, value[at]), *value[at + 1 :]]
    return draw.choice(_VALUES)


def rebuild(members: Members, events: list[dict[str, Any]]) -> None:
    """A journal, a seal and an original that fit the forged events."""
    previous, lines, listed = GENESIS, [], []
    for number, event in enumerate(events, 1):
        body = {**{key: part for key, part in event.items() if key != "sha256"}, "seq": number, "prev": previous}
        previous = sha256_hex(canonical_json(body))
        lines.append(canonical_json({**body, "sha256": previous}) + b"\n")
        listed.append({"sha256": previous, "redacted": False})
    members["journal/events.jsonl"] = content = b"".join(lines)
    seal = json.loads(members["journal/seal.json"])
    del seal["sha256"]
    seal |= {"head_seq": len(events), "head_sha256": previous, "events_sha256": sha256_hex(content)}
    seal["events_size_bytes"] = len(content)
    members["journal/seal.json"] = canonical_json({**seal, "sha256": sha256_hex(canonical_json(seal))}) + b"\n"
    original = json.loads(members["journal/original.json"]) | {"events": listed, "head_sha256": previous}
    members["journal/original.json"] = json.dumps(
        original | {"head_seq": len(events)}, indent=1, sort_keys=True
    ).encode()


def test_a_record_forged_at_random_is_a_finding_and_no_crash(toy_bundle: Path, tmp_path: Path) -> None:
    draw = random.Random(3)
    kinds = set()
    for trial in range(TRIALS):

        def change(members: Members) -> None:
            events = [json.loads(line) for line in members["journal/events.jsonl"].splitlines()]
            for _ in range(draw.choice([1, 1, 2])):
                at = draw.randrange(len(events))
                kind = draw.random()
                if kind < 0.1:
                    del events[at]
                elif kind < 0.2:
                    events.insert(draw.randrange(len(events)), events[at])
                elif kind < 0.25:
                    events[at]["time"] = draw.choice(["yesterday", "", "2026-13-45T00:00:00Z"])
                else:
                    events[at] = {**events[at], "data": mutate(draw, events[at]["data"])}
                if not isinstance(events[min(at, len(events) - 1)]["data"], dict):
                    events[at]["data"] = {}
            rebuild(members, events)

        report = verify_bundle(forged(toy_bundle, tmp_path / f"{trial}.zip", change))
        (tmp_path / f"{trial}.zip").unlink()
        problems = [finding.text for finding in report.findings if finding.kind == "problem"]
        assert problems and all(problem and "\n" not in problem for problem in problems), problems
        kinds.add(problems[0].split(":")[0])
    assert len(kinds) > 3, "the forgeries are all found by one and the same check"


def test_sources_forged_at_random_are_findings_and_no_crash(relion_bundle: Path, tmp_path: Path) -> None:
    """These are what an author may choose: some forgeries hold, and say something else on their face."""
    draw = random.Random(5)
    for trial in range(60):
        name = draw.choice(["bundle.json", "claims.json", "dataset.json", "journal/original.json"])

        def change(members: Members, name: str = name) -> None:
            content = mutate(draw, json.loads(members[name]))
            members[name] = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"

        report = verify_bundle(forged(relion_bundle, tmp_path / f"{trial}.zip", change))
        (tmp_path / f"{trial}.zip").unlink()
        assert report.findings and all("\n" not in finding.text for finding in report.findings)
