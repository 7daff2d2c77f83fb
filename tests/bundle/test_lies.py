"""Bundles whose sums all fit and that say something else than the run did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryorepro.bundle.derive import derived_texts
from cryorepro.bundle.facts import facts_of
from cryorepro.bundle.verify import verify_bundle
from cryorepro.store.event import GENESIS, canonical_json, sha256_hex
from tests.bundle.forge import Members, forged


def problems(bundle: Path) -> list[str]:
    return [finding.text for finding in verify_bundle(bundle).findings if finding.kind == "problem"]


def edit(name: str, change: Callable[[Any], None]) -> Callable[[Members], None]:
    def make(members: Members) -> None:
        content = json.loads(members[name])
        change(content)
        members[name] = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    return make


def rechained(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[Members], None]:
    """Edit the journal, chain it again, seal it again, and make every text again from it: all a forger can do."""

    def make(members: Members) -> None:
        events = [json.loads(line) for line in members["journal/events.jsonl"].splitlines()]
        change(events)
        previous, lines = GENESIS, []
        for number, event in enumerate(events, 1):
            body = {**{key: value for key, value in event.items() if key != "sha256"}, "seq": number, "prev": previous}
            previous = sha256_hex(canonical_json(body))
            lines.append(canonical_json({**body, "sha256": previous}) + b"\n")
        members["journal/events.jsonl"] = content = b"".join(lines)
        seal = json.loads(members["journal/seal.json"])
        del seal["sha256"]
        seal |= {"head_seq": len(events), "head_sha256": previous, "events_sha256": sha256_hex(content)}
        seal["events_size_bytes"] = len(content)
        members["journal/seal.json"] = canonical_json({**seal, "sha256": sha256_hex(canonical_json(seal))}) + b"\n"

    return make


def set_outcome(value: float) -> Callable[[list[dict[str, Any]]], None]:
    def change(events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["type"] == "outcome_measured":
                event["data"]["value"]["value"] = value

    return change


def drop_last_verdict(events: list[dict[str, Any]]) -> None:
    del events[-2]


def better_word(events: list[dict[str, Any]]) -> None:
    for event in events:
        if event["type"] == "verdict_given":
            event["data"]["axis_outcome"] = "equivalent"


def slower(events: list[dict[str, Any]]) -> None:
    events[-1]["data"]["elapsed_seconds_all_attempts"] += 500


def unknown_kind(events: list[dict[str, Any]]) -> None:
    events[2]["type"] = "shell_command"


def extra_field(events: list[dict[str, Any]]) -> None:
    events[0]["data"]["password"] = "x"


JOURNAL_LIES = {
    "another-number": (set_outcome(4951.0), "is not the one that was first recorded"),
    "a-better-word": (better_word, "is not the one that was first recorded"),
    "another-time": (slower, "is not the one that was first recorded"),
    "an-event-less": (drop_last_verdict, "another number of events"),
    "an-unknown-kind": (unknown_kind, "is of a kind that no bundle holds"),
    "an-extra-field": (extra_field, "field 'password'"),
}


@pytest.mark.parametrize("kind", [kind for kind in JOURNAL_LIES if kind != "an-event-less"])
def test_a_journal_chained_again_is_found_by_the_original_chain(toy_bundle: Path, tmp_path: Path, kind: str) -> None:
    change, words = JOURNAL_LIES[kind]
    found = problems(forged(toy_bundle, tmp_path / "lie.zip", rechained(change)))
    assert len(found) == 1 and words in found[0], found


def test_an_event_taken_out_is_found(toy_bundle: Path, tmp_path: Path) -> None:
    change, words = JOURNAL_LIES["an-event-less"]
    found = problems(forged(toy_bundle, tmp_path / "lie.zip", rechained(change)))
    assert len(found) == 1 and words in found[0], found


def test_a_number_that_its_own_curve_contradicts_is_found_even_with_a_new_original(
    relion_bundle: Path, tmp_path: Path
) -> None:
    """A forger who makes up the original chain as well still has to make the curve fit the number."""

    def change(members: Members) -> None:
        rechained(_better_map)(members)
        events = [json.loads(line) for line in members["journal/events.jsonl"].splitlines()]
        original = json.loads(members["journal/original.json"])
        original["events"] = [{"sha256": event["sha256"], "redacted": False} for event in events]
        original["head_sha256"] = events[-1]["sha256"]
        members["journal/original.json"] = _text(original)
        sources = {name: content for name, content in members.items() if name.startswith(("journal/", "usage/"))}
        sources |= {name: members[name] for name in ("bundle.json", "claims.json", "dataset.json", "spec.yaml")}
        members.update(derived_texts(facts_of(sources)))

    found = problems(forged(relion_bundle, tmp_path / "lie.zip", change))
    assert any("outcome 'map-to-truth': the journal says 30, its own curve or table gives" in text for text in found)
    assert any("verdict on 'map-to-truth'" in text and "when it is given again" in text for text in found)


def _better_map(events: list[dict[str, Any]]) -> None:
    for event in events:
        if event["type"] == "outcome_measured" and event["data"]["outcome"] == "map-to-truth":
            event["data"]["value"] |= {"value": 30.0, "shell": 30}


def _text(content: Any) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def add_member(members: Members) -> None:
    members["figures2/extra.txt"] = b"hello\n"


def drop_member(members: Members) -> None:
    del members["table1.md"]


def drop_source(members: Members) -> None:
    del members["spec.yaml"]


def other_spec(members: Members) -> None:
    members["spec.yaml"] = members["spec.yaml"].replace(b"margin: 0", b"margin: 9")


def other_table(members: Members) -> None:
    members["table1.md"] = members["table1.md"].replace(b"4950", b"5000")


def deep(members: Members) -> None:
    members["claims.json"] = b"[" * 100_000 + b"]" * 100_000


def not_a_number(members: Members) -> None:
    members["claims.json"] = b'[{"value": NaN}]\n'


def infinite(members: Members) -> None:
    members["claims.json"] = b'[{"value": 1e999}]\n'


def long_number(members: Members) -> None:
    members["claims.json"] = b"[" + b"9" * 100_000 + b"]\n"


def twice(members: Members) -> None:
    members["bundle.json"] = members["bundle.json"].replace(b'"format": 1', b'"format": 1, "format": 1')


def no_text(members: Members) -> None:
    members["dataset.json"] = b"\xff\xfe{}\n"


def later_format(members: Members) -> None:
    members["bundle.json"] = members["bundle.json"].replace(b'"format": 1', b'"format": 9')


def options_with_code(members: Members) -> None:
    edit("bundle.json", lambda content: content.update(plugins=["https://example.org/evil.whl"]))(members)


def usage_of_letters(members: Members) -> None:
    members["usage/sum-1.csv"] = b"seconds,cpu_seconds,memory_bytes,processes\na,b,c,d\n"


LIES: dict[str, tuple[Callable[[Members], None], str]] = {
    "member-that-does-not-belong": (add_member, "is nothing that export writes"),
    "member-missing": (drop_member, "the member 'table1.md' is missing"),
    "source-missing": (drop_source, "the member 'spec.yaml' is missing"),
    "another-benchmark": (other_spec, "is not the benchmark that the journal says was run"),
    "another-table": (other_table, "table1.md: is not what follows from the run's record"),
    "json-depth": (deep, "nested deeper than 40 levels"),
    "nan": (not_a_number, "NaN is not a number that JSON knows"),
    "infinity": (infinite, "1e999 is not a number that JSON knows"),
    "endless-number": (long_number, "is not a number that JSON knows"),
    "key-twice": (twice, "key 'format' is given twice"),
    "not-utf8": (no_text, "not UTF-8 text"),
    "later-format": (later_format, "has format 9"),
    "unknown-key": (options_with_code, "field 'plugins'"),
    "usage-of-letters": (usage_of_letters, "is not a row of numbers"),
    "other-threads": (
        edit("bundle.json", lambda content: content["options"].update(threads=64)), "option 'threads' is 64",
    ),
    "file-of-the-referee": (
        edit("bundle.json", lambda content: content["options"].update(data_path="/etc/passwd")), "option 'data_path'",
    ),
    "other-runner": (
        edit("bundle.json", lambda content: content["options"].update(runners={"*": "evil"})), "option 'runners.sum'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
def test_a_lie_with_fitting_sums_is_found(toy_bundle: Path, tmp_path: Path, kind: str) -> None:
    change, words = LIES[kind]
    found = problems(forged(toy_bundle, tmp_path / "lie.zip", change))
    assert any(words in text for text in found), found
    assert all("\n" not in text for text in found)


def test_a_version_that_is_only_claimed_does_not_hide_a_changed_text(toy_bundle: Path, tmp_path: Path) -> None:
    """Another version may word texts otherwise, so that this is no proof of a lie; but which texts differ is told."""

    def change(members: Members) -> None:
        other_table(members)
        members["bundle.json"] = members["bundle.json"].replace(b'"cryorepro_version": "', b'"cryorepro_version": "9')

    report = verify_bundle(forged(toy_bundle, tmp_path / "lie.zip", change))
    notes = [finding.text for finding in report.findings if finding.kind == "note" and "table1.md" in finding.text]
    assert len(notes) == 1 and "believe the journal, not the texts" in notes[0]
