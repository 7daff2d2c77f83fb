"""The lint on the shipped record: what it must find, and what it must leave alone."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryorepro.compare.claims_lint.check import RULES, Report, check_claims, shipped_record
from cryorepro.compare.claims_lint.finding import Finding, Record

Entry = dict[str, Any]


@pytest.fixture(scope="module")
def record() -> Record:
    return shipped_record()


@pytest.fixture(scope="module")
def report(record: Record) -> Report:
    return check_claims(record)


@pytest.fixture(scope="module")
def known(record: Record) -> list[Entry]:
    """The known defects with their patterns resolved to claims of the registry."""
    entries: list[Entry] = yaml.safe_load((Path(__file__).parent / "known_defects.yaml").read_text())
    for entry in entries:
        names: set[str] = set()
        for pattern in entry["claims"]:
            matching = {name for name in record.claims if fnmatch(name, pattern)}
            assert matching, f"{entry['defect']}: no claim is called {pattern}"
            names |= matching
        entry["claims"] = {name for name in names if not any(fnmatch(name, one) for one in entry.get("except", []))}
    return entries


def belongs(finding: Finding, known: list[Entry]) -> bool:
    return any(finding.rule in entry["rules"] and finding.claims[0] in entry["claims"] for entry in known)


def missed_claims(report: Report, entry: Entry) -> set[str]:
    """Claims in which the defect shows and to which none of its rules objects."""
    flagged = {name for finding in report.findings if finding.rule in entry["rules"] for name in finding.claims}
    return set(entry["claims"]) - flagged


def test_every_listed_defect_is_found(report: Report, known: list[Entry]) -> None:
    missed = {entry["defect"]: missed_claims(report, entry) for entry in known}
    assert {defect: names for defect, names in missed.items() if names} == {}


def test_nothing_else_is_found(report: Report, known: list[Entry]) -> None:
    assert [finding for finding in report.findings if not belongs(finding, known)] == []


def test_precision_and_recall_are_the_documented_ones(record: Record, report: Report, known: list[Entry]) -> None:
    listed = [entry for entry in known if entry["known"] == "listed"]
    found = [entry for entry in listed if not missed_claims(report, entry)]
    from_list = sum(belongs(finding, listed) for finding in report.findings)
    true = sum(belongs(finding, known) for finding in report.findings)
    text = (Path(__file__).parents[2] / "docs" / "claims.md").read_text()
    assert f"{len(record.claims):,} claims" in text
    assert f"recall: {len(found)} of {len(listed)} listed defects" in text
    assert f"precision: {true} of {len(report.findings)} findings" in text
    assert f"{from_list} belong to listed defects" in text


def test_the_rules_read_rows_not_the_notes_about_them(record: Record, report: Report) -> None:
    bare = {
        name: claim.model_copy(update={"defects": [], "quality": "primary", "uncertainty": None, "locator": "-"})
        for name, claim in record.claims.items()
    }
    assert check_claims(replace(record, claims=bare)).findings == report.findings


def test_the_order_of_the_claims_does_not_matter(record: Record, report: Report) -> None:
    names = list(record.claims)
    random.Random(1).shuffle(names)
    shuffled = check_claims(replace(record, claims={name: record.claims[name] for name in names}))
    assert {(one.rule, frozenset(one.claims)) for one in shuffled.findings} == {
        (one.rule, frozenset(one.claims)) for one in report.findings
    }


def test_every_contradiction_is_noted_on_a_claim(report: Report) -> None:
    assert report.unacknowledged == []


def test_every_rule_but_two_finds_something_in_the_record(report: Report) -> None:
    """Nothing published contradicts a price or a Fourier shell: those two are proved on altered rows instead."""
    assert set(RULES) - {finding.rule for finding in report.findings} == {"prices", "shells"}


def test_ten_thousand_claims_in_five_seconds(record: Record) -> None:
    many = {}
    for copy in range(10_000 // len(record.claims) + 1):
        for name, claim in record.claims.items():
            renamed: dict[str, Any] = {"id": f"{name}.{copy}", "dataset": f"{claim.dataset}.{copy}"}
            renamed["run"] = f"{claim.run}.{copy}" if claim.run else None
            renamed["system"] = f"{claim.system}.{copy}" if claim.system else None
            if claim.derived:
                terms = [f"{term}.{copy}" for term in claim.derived.of]
                renamed["derived"] = claim.derived.model_copy(update={"of": terms})
            many[renamed["id"]] = claim.model_copy(update=renamed)
    assert len(many) >= 10_000
    started = time.perf_counter()
    findings = check_claims(replace(record, claims=many)).findings
    assert time.perf_counter() - started < 5
    assert len(findings) > 900


@pytest.mark.parametrize("shape", ["one run", "one configuration", "one site each", "growing"])
def test_ten_thousand_claims_about_one_thing(record: Record, shape: str) -> None:
    """The worst a registry can do to rules that compare rows with each other."""
    sample = record.claims["clusterra-2026-wall-1xa10g-table"]
    many = {}
    for index in range(10_000):
        changed: dict[str, Any] = {"id": f"c{index}", "value": 100.0 + 37 * (index % 5_000), "printed": None}
        changed["run"] = "one" if shape == "one run" else f"r{index}"
        if shape == "one site each":
            changed["system"] = f"site {index}"
        if shape == "growing":
            changed["gpus"] = index + 1
        many[changed["id"]] = sample.model_copy(update=changed)
    started = time.perf_counter()
    findings = check_claims(replace(record, claims=many)).findings
    assert time.perf_counter() - started < 5
    assert findings
