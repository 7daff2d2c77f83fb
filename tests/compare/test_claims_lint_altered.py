"""The lint on altered rows: one figure of a clean row is changed, and the rule that must object does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cryorepro.compare.claims_lint.check import RULES, check_claims, shipped_record
from cryorepro.compare.claims_lint.finding import Record


@pytest.fixture(scope="module")
def record() -> Record:
    """The shipped record without the claims that are in doubt, and without what was derived from them."""
    whole = shipped_record()
    clean = dict(whole.claims)
    for finding in check_claims(whole).findings:
        runs = {whole.claims[name].run for name in finding.claims} if finding.rule == "ignored-option" else set()
        doubtful = finding.claims if finding.rule == "identical" else finding.claims[:1]
        clean = {name: claim for name, claim in clean.items() if name not in doubtful and claim.run not in runs}
    while broken := [
        name for name, claim in clean.items() if claim.derived and not set(claim.derived.of) <= set(clean)
    ]:
        for name in broken:
            del clean[name]
    return replace(whole, claims=clean)


Change = Callable[..., set[str]]


@pytest.fixture
def rules_after(record: Record) -> Change:
    """Rules that object to a claim once its fields are changed."""

    def change(name: str, **fields: Any) -> set[str]:
        altered = dict(record.claims)
        altered[name] = altered[name].model_copy(update=fields)
        findings = check_claims(replace(record, claims=altered)).findings
        return {finding.rule for finding in findings if name in finding.claims}

    return change


def test_the_clean_rows_are_clean(record: Record) -> None:
    assert len(record.claims) > 700
    assert check_claims(record).findings == []


@pytest.mark.parametrize(
    ("name", "fields", "rule"),
    [
        ("clusterra-2026-cost-4xa10g", {"value": 4.4}, "arithmetic"),
        ("mrclmb-speedup-4xv100", {"value": 2.7}, "arithmetic"),
        ("issue248-samples", {"value": 580609.0}, "arithmetic"),
        ("cianfrocco-preprint-wall-about", {"value": 43200.0, "printed": "12 h"}, "conflict"),
        ("stfc-slides-class2d-broadwell", {"value": 98280.0, "printed": "27:18 h:min"}, "conflict"),
        ("aws-guide-wall-g4dn.metal", {"value": 17640.0}, "printed"),
        ("aws-guide-cost-g4dn.metal", {"value": 39.7, "printed": "39.70"}, "prices"),
        ("aws-guide-cost-p4d.24xlarge", {"value": 94.10, "printed": "94.10"}, "prices"),
        ("clusterra-2026-resolution", {"value": 9.75, "shell": None}, "shells"),
        ("clusterra-2026-resolution", {"shell": 51}, "shells"),
        ("stfc-pearl-28256-resolution", {"value": 3.606367, "shell": None}, "shells"),
        ("stfc-slides-refine3d-gpu-resolution", {"value": 2.24, "shell": None}, "shells"),
        ("ec2-2015-r3.8xlarge-vcpu", {"value": 16.0}, "hardware"),
        ("clusterra-2026-gpu-utilisation", {"value": 37.0, "printed": None}, "ranges"),
        ("stfc-pearl-28453-wall", {"value": 380.15}, "too-short"),
        ("stfc-pearl-28473-refine", {"value": 337.5}, "too-short"),
        ("stfc-pearl-28303-refine", {"value": 3300.0}, "scaling"),
        ("stfc-pearl-28448-refine", {"value": 1480.0}, "repeats"),
        ("mrclmb-wall-1xv100", {"workload": "nowhere"}, "workload"),
        ("readme-wall-4xeon6148", {"command": "--pool 40 --j 20 --cpu --iter 5"}, "workload"),
        ("readme-wall-4xeon6148", {"command": "-pool 40 --j 20 --cpu"}, "ignored-option"),
    ],
)
def test_one_changed_figure_is_found(rules_after: Change, name: str, fields: dict[str, Any], rule: str) -> None:
    assert rules_after(name) == set()
    assert rule in rules_after(name, **fields)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("clusterra-2026-resolution", {"value": 9.84, "shell": 49}),
        ("clusterra-2026-resolution", {"value": 9.7, "shell": 50}),
        ("mrclmb-speedup-4xv100", {"value": 2.58}),
        ("aws-guide-cost-p3.16xlarge", {"value": 83.6, "printed": "83.6"}),
        ("stfc-pearl-28448-star-handler", {"value": 14.9}),
        ("readme-wall-4xeon6148", {"command": "--pool 99 --j 2 --gpu --pad 2"}),
    ],
)
def test_what_rounding_and_noise_explain_is_left_alone(rules_after: Change, name: str, fields: dict[str, Any]) -> None:
    assert rules_after(name, **fields) == set()


def test_every_rule_is_proved_somewhere() -> None:
    """Rules that no altered row above can trip (they need whole tables) have their own tests."""
    altered = {mark.args[1][index][2] for mark in test_one_changed_figure_is_found.pytestmark for index in range(21)}  # type: ignore[attr-defined]
    assert set(RULES) - altered == {"memory", "identical", "across", "order", "profile"}
