"""Verdicts: the right word for the right reason."""

from __future__ import annotations

from typing import Any

import pytest

from cryorepro.compare.judge import judge, overall, performance
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.claim import Claim
from cryorepro.model.outcome import Verdict

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


def run(tier: str, outcomes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"run": "r", "settings": {"tier": tier}, "stages": {}, "outcomes": outcomes}


def verdicts_of(tier: str, *members: dict[str, dict[str, Any]]) -> list[Verdict]:
    return judge(benchmark(), {CLAIM.id: CLAIM}, [run(tier, outcomes) for outcomes in members])


def words(tier: str, *members: dict[str, dict[str, Any]]) -> list[str]:
    return [verdict.axis_outcome for verdict in verdicts_of(tier, *members)]


def test_a_twin_never_decides_a_published_claim() -> None:
    verdicts = verdicts_of("twin", measured(50))
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
    verdict = verdicts_of("full", measured(shell))[0]
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
    verdicts = verdicts_of("twin", measured(10))
    assert overall(benchmark(), verdicts) == "diverged"
    assert overall(benchmark(), verdicts_of("twin", measured(22))) == "within-band-n1"


@pytest.mark.parametrize(
    ("shells", "word", "better"),
    [
        ((50, 50, 50), "equivalent", False),
        ((50, 50), "inconclusive", False),  # two runs cannot exclude a shell and a half
        ((48, 50, 52), "inconclusive", False),
        ((46, 46, 46), "diverged", False),
        ((54, 54, 54), "diverged", True),
    ],
)
def test_replicates_are_held_by_their_spread(shells: tuple[int, ...], word: str, better: bool) -> None:
    verdict = verdicts_of("full", *(measured(shell) for shell in shells))[0]
    assert (verdict.axis_outcome, verdict.better_than_expected) == (word, better)
    assert (verdict.runs, verdict.measured_runs) == (len(shells), len(shells))
    assert (verdict.more_runs is not None) == (word == "inconclusive")


def test_other_parameters_than_the_margin_was_made_for_are_told_with_it() -> None:
    changed = run("twin", measured(20))
    changed["settings"]["tier_parameters"] = {"particles": 300}
    changed["stages"] = {"class3d": {"departures": ["healpix_order, pool: asked for on the command line"]}}
    (verdict, _claim) = judge(benchmark(), {CLAIM.id: CLAIM}, [changed])
    assert verdict.axis_outcome == "within-band-n1"
    assert verdict.reason.endswith("declared for other values of class3d.healpix_order, data.particles")
    full = run("full", measured(50))
    full["stages"] = changed["stages"]
    (claim,) = judge(benchmark(), {CLAIM.id: CLAIM}, [full])
    assert (claim.axis_outcome, "another healpix_order" in claim.reason) == ("not-comparable", True)
    full["stages"] = {"class3d": {"departures": ["pool: asked for on the command line"]}}
    assert judge(benchmark(), {CLAIM.id: CLAIM}, [full])[0].axis_outcome == "within-band-n1", "a matter of speed"


def test_a_failed_replicate_is_counted_and_never_hidden() -> None:
    verdict = verdicts_of("full", measured(50), {}, measured(50), measured(50))[0]
    assert verdict.axis_outcome == "inconclusive"
    assert (verdict.runs, verdict.measured_runs) == (4, 3)
    assert "1 of 4 runs gave no value" in verdict.reason
    assert words("full", {}, {}) == ["failed"]
    assert verdicts_of("full", measured(46), {}, measured(46), measured(46))[0].axis_outcome == "diverged"


TIME = CLAIM.model_copy(
    update={
        "quantity": "wall_time",
        "value": 1000.0,
        "unit": "seconds",
        "shell": None,
        "gpu": "A10G",
        "gpus": 1,
        "threads": 6,
    }
)


def timed(wall: float, **changes: Any) -> dict[str, Any]:
    """A run of the whole deposit under the claim's own conditions."""
    record = run(changes.pop("tier", "full"), measured(50))
    record["settings"] |= {"device": "cuda", "threads": 6, "tier_parameters": {}, **changes.pop("settings", {})}
    gpus = [{"name": changes.pop("gpu", "NVIDIA A10G")}] * changes.pop("gpus", 1)
    record["fingerprint"] = [{"name": "gpu", "status": "ok", "data": {"gpus": gpus}}]
    program = {"name": "RELION", "version": changes.pop("version", "5.0.1")}
    record["stages"] = {"class3d": {
        "status": "completed", "usage": {"wall_seconds": wall}, "attempts": [{}], "program": program, **changes,
    }}  # fmt: skip
    return record


def time_verdict(*runs: dict[str, Any]) -> Verdict:
    plain = benchmark().model_dump(mode="json")
    plain["outcomes"][0] |= {"claim": None, "tolerance": None}
    (verdict,) = (row for row in judge(Benchmark.model_validate(plain), {TIME.id: TIME}, runs) if row.kind == "time")
    return verdict


@pytest.mark.parametrize(
    ("seconds", "word"),
    [
        ((1010, 1000, 995), "matches"),
        ((500, 505, 510), "faster"),
        ((2000, 2010, 1990), "slower"),
        ((800, 1000, 1250), "inconclusive"),
        ((500,), "inconclusive"),
    ],
    ids=["matches", "faster", "slower", "scattered", "one-run"],
)
def test_a_published_time_is_judged_on_its_own_axis(seconds: tuple[float, ...], word: str) -> None:
    verdict = time_verdict(*(timed(wall) for wall in seconds))
    assert (verdict.axis_performance, verdict.axis_outcome, verdict.needs) == (word, "not-attempted", None)
    assert overall(benchmark(), [verdict]) == "not-attempted", "a time is no outcome"
    assert performance([verdict])[0] == word


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpu": "NVIDIA H200"}, "published on A10G, here on NVIDIA H200"),
        ({"gpus": 4}, "published on 1 GPUs, here 4"),
        ({"settings": {"device": "cpu"}}, "here on the processor"),
        ({"settings": {"threads": 12}}, "6 threads published, 12 here"),
        ({"version": "3.1.3"}, "published with RELION 5.0, here RELION 3.1.3"),
        ({"departures": ["iterations: asked for on the command line"]}, "run with another iterations"),
        ({"tier": "twin"}, "not the whole deposit"),
    ],
    ids=["gpu", "gpus", "cpu", "threads", "version", "parameter", "tier"],
)
def test_a_time_under_other_conditions_is_not_compared(changes: dict[str, Any], words: str) -> None:
    verdict = time_verdict(*(timed(wall, **changes) for wall in (1000.0, 1001.0, 999.0)))
    assert verdict.axis_performance == "not-comparable"
    assert words in str(verdict.performance_reason)
