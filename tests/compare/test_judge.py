"""Verdicts: the right word for the right reason."""

from __future__ import annotations

from typing import Any

import pytest

from cryorepro.compare.judge import judge, overall
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.claim import Claim

CLAIM = Claim(
    id="somebody-2026",
    dataset="d",
    quantity="class3d_resolution",
    value=9.65,
    unit="angstrom",
    shell=50,
    box_px=360,
    pixel_size_angstrom=1.34,
    workload="w",
    software="RELION 5.0",
    hardware="1 x A10G",
    source="a page",
    locator="a table",
    quality="seed",
    defects=["the page says 9.56 elsewhere"],
    needs="47 GB",
)


def benchmark() -> Benchmark:
    tolerance = {"unit": "shells", "margin": 1, "reason": "one shell is the smallest difference"}
    floor = {**tolerance, "direction": "at-least"}
    return Benchmark.model_validate({
        "schema_version": 1,
        "name": "b",
        "version": "1.0",
        "title": "t",
        "summary": "s",
        "dataset": "d",
        "sources": ["x"],
        "tiers": {"twin": {}, "full": {}},
        "stages": [{"name": "class3d", "kind": "class3d", "inputs": {}}],
        "claims": ["somebody-2026"],
        "outcomes": [{
            "name": "resolution",
            "metric": "class3d_resolution",
            "stage": "class3d",
            "claim": "somebody-2026",
            "tolerance": tolerance,
            "expect": {"twin": {"value": 20, "tolerance": floor}},
        }],
    })  # fmt: skip


def measured(shell: int, box: int = 360, pixel: float = 1.34) -> dict[str, dict[str, Any]]:
    value = {"value": shell, "unit": "shells", "shell": shell, "box_px": box, "pixel_size_angstrom": pixel}
    return {"resolution": {"status": "measured", "value": value, "reason": None}}


def words(tier: str, outcomes: dict[str, dict[str, Any]]) -> list[str]:
    return [verdict.axis_outcome for verdict in judge(benchmark(), tier, {CLAIM.id: CLAIM}, outcomes)]


def test_a_twin_never_decides_a_published_claim() -> None:
    verdicts = judge(benchmark(), "twin", {CLAIM.id: CLAIM}, measured(50))
    assert [(v.self_check, v.axis_outcome) for v in verdicts] == [(True, "within-band-n1"), (False, "not-attempted")]
    assert verdicts[1].needs == "47 GB; cryorepro reproduce b --tier full --data PATH"
    assert verdicts[1].measured is None
    assert "the page says 9.56 elsewhere" in verdicts[1].reason


@pytest.mark.parametrize(
    ("shell", "word", "better"),
    [
        (49, "within-band-n1", False),
        (50, "within-band-n1", False),
        (51, "within-band-n1", False),
        (48, "diverged", False),
        (52, "diverged", True),
    ],
)
def test_a_claim_is_held_in_whole_shells_both_ways(shell: int, word: str, better: bool) -> None:
    verdict = judge(benchmark(), "full", {CLAIM.id: CLAIM}, measured(shell))[0]
    assert (verdict.axis_outcome, verdict.better_than_expected) == (word, better)


@pytest.mark.parametrize(("shell", "word"), [(19, "within-band-n1"), (18, "diverged"), (31, "within-band-n1")])
def test_a_floor_holds_from_below_only(shell: int, word: str) -> None:
    assert words("twin", measured(shell))[0] == word


def test_shells_of_other_boxes_are_not_compared() -> None:
    assert words("full", measured(50, box=256)) == ["not-comparable"]
    assert words("full", measured(50, box=180, pixel=2.68)) == ["within-band-n1"]  # the same 482.4 A


def test_what_was_not_measured_is_said_so() -> None:
    assert words("full", {}) == ["failed"]
    record = {"resolution": {"status": "unverifiable", "value": None, "reason": "stale"}}
    assert words("full", record) == ["unverifiable"]
    other = measured(50)
    other["resolution"]["value"]["unit"] = "angstrom"
    assert words("full", other) == ["not-comparable"]


def test_the_run_reads_as_its_worst_required_outcome() -> None:
    verdicts = judge(benchmark(), "twin", {CLAIM.id: CLAIM}, measured(10))
    assert overall(benchmark(), verdicts) == "diverged"
    assert overall(benchmark(), judge(benchmark(), "twin", {CLAIM.id: CLAIM}, measured(22))) == "within-band-n1"
