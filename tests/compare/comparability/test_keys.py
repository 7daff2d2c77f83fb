"""Keys and the rule table: what must differ does, what must not does not, and every difference has its own reason."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.compare.comparability.compare import compare_keys
from cryorepro.compare.comparability.keys import Keys, digest, keys_of
from cryorepro.compare.comparability.rules import rule_table
from cryorepro.compare.verdict.between import compare_groups
from cryorepro.model.benchmark import Benchmark

BENCHMARK = Benchmark.model_validate({
    "schema_version": 1,
    "name": "b",
    "version": "1.2",
    "title": "t",
    "summary": "s",
    "dataset": "d",
    "sources": ["x"],
    "tiers": {"twin": {}, "subset": {}},
    "default_tier": "subset",
    "stages": [
        {"name": "refine", "kind": "refine3d", "inputs": {"particles": "data.particles", "mask": "data.mask"}},
    ],
    "outcomes": [{
        "name": "resolution", "metric": "m", "stage": "refine",
        "expect": {"subset": {"value": 20, "tolerance": {
            "unit": "shells", "margin": 1, "reason": "a shell is the smallest difference",
        }}},
    }],
})  # fmt: skip


def record() -> dict[str, Any]:
    value = {"value": 20.0, "unit": "shells", "shell": 20, "box_px": 64, "pixel_size_angstrom": 2.0}
    probes = {
        "cpu": {"model": "EPYC", "affinity_cores": 8, "usable_cores": 8.0, "smt_active": False},
        "gpu": {"gpus": [{"name": "H200", "memory_total_bytes": 1, "power_limit_mw": 700_000, "mig": False}]},
        "filesystems": {"roles": {"scratch": {"place": "local", "device": {"class": "nvme"}, "type": "xfs"}}},
        "container": {"kind": None, "image_sha256": None},
    }
    return {
        "run": "r",
        "status": "completed",
        "reason": None,
        "settings": {
            "benchmark": "b", "benchmark_version": "1.2", "dataset": "d", "tier": "subset", "tier_parameters": {},
            "seed": 1, "data_seed": 1, "threads": 4, "device": "cuda", "executor": "local",
            "cryorepro_version": "0.1.0", "runners": {"refine": "relion"}, "cache": "cold", "deterministic": False,
            "parameters": {"refine": {
                "symmetry": "C1", "flatten_solvent": True, "zero_mask": True, "iterations": 25, "mpi_ranks": 3,
                "pool": 30,
            }},
        },
        "data": {
            "files": [{"role": "particles", "sha256": "a" * 64}], "rows": {"particles": 1000}, "errata": [],
            "box_px": 64, "pixel_size_angstrom": 2.0,
        },
        "fingerprint": [{"name": name, "status": "ok", "data": data} for name, data in probes.items()],
        "stages": {"refine": {
            "kind": "refine3d", "runner": "relion", "program": {"name": "RELION", "version": "3.1.3"}, "iterations": 12,
            "status": "completed", "usage": {"wall_seconds": 100.0}, "attempts": [{}], "seed_read_back": 7,
        }},
        "outcomes": {"resolution": {"status": "measured", "value": value, "reason": None, "artifacts": {"a": "b"}}},
        "attempts": [{"host_hash": "h"}],
    }  # fmt: skip


def keys(content: dict[str, Any]) -> Keys:
    return keys_of(content, BENCHMARK)


def setting(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda run: run["settings"].update({name: value})


def parameter(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda run: run["settings"]["parameters"]["refine"].update({name: value})


def data(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda run: run["data"].update({name: value})


def gpu(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda run: run["fingerprint"][1]["data"]["gpus"][0].update({name: value})


def probe(place: int, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda run: run["fingerprint"][place]["data"].update({name: value})


SCIENCE = {
    "rows": (data("files", [{"role": "particles", "sha256": "c" * 64}]), "other bytes"),
    "tier": (setting("tier", "twin"), "each tier is a different experiment"),
    "errata": (data("errata", [{"id": "gain-flip"}]), "repaired on one side only"),
    "parameter": (parameter("iterations", 20), "another recipe or parameter"),
    "symmetry": (parameter("symmetry", "D2"), "another symmetry"),
    "mask": (parameter("flatten_solvent", False), "another mask policy"),
    "pixel-size": (data("pixel_size_angstrom", 2.2), "Fourier shells are not the same"),
    "box": (data("box_px", 128), "Fourier shells are not the same"),
    "data-seed": (setting("data_seed", 2), "other rows of the deposit"),
    "recipe": (setting("benchmark_version", "2.0"), "another major version"),
}
PERFORMANCE = {
    "gpu": (gpu("name", "A100"), "other GPUs"),
    "power-cap": (gpu("power_limit_mw", 350_000), "another power cap"),
    "mig": (gpu("mig", True), "other GPUs"),
    "threads": (setting("threads", 8), "ranks and threads"),
    "ranks": (parameter("mpi_ranks", 5), "ranks and threads"),
    "cache": (setting("cache", "any"), "page cache"),
    "device": (setting("device", "cpu"), "processor against GPU"),
    "cpu": (probe(0, "model", "Xeon"), "class of processor"),
    "storage": (probe(2, "roles", {"scratch": {"place": "network", "type": "nfs"}}), "scratch storage"),
    "iterations": (lambda run: run["stages"]["refine"].update(iterations=15), "number of iterations"),
}


@pytest.mark.parametrize("case", SCIENCE)
def test_what_decides_the_result_breaks_with_its_reason(case: str) -> None:
    change, words = SCIENCE[case]
    other = record()
    change(other)
    answer = compare_keys(keys(record()), keys(other))
    assert (answer.science, answer.performance) == ("not-comparable", "not-comparable")
    assert keys(record()).science_sha256 != keys(other).science_sha256
    assert any(words in reason for reason in answer.reasons("science")), answer.reasons("science")
    between = compare_groups(BENCHMARK, [record()], [other])
    assert between.word in ("not-comparable", "unverifiable")
    assert between.performance == "not-comparable"


@pytest.mark.parametrize("case", PERFORMANCE)
def test_what_decides_the_time_leaves_the_result_comparable(case: str) -> None:
    change, words = PERFORMANCE[case]
    other = record()
    change(other)
    answer = compare_keys(keys(record()), keys(other))
    assert (answer.science, answer.performance) == ("comparable", "not-comparable")
    assert keys(record()).science_sha256 == keys(other).science_sha256
    assert any(words in reason for reason in answer.reasons("performance")), answer.reasons("performance")


def test_another_program_is_a_caveat_and_no_rival_in_time() -> None:
    other = record()
    other["stages"]["refine"].update(runner="relion-like", program={"name": "cryorepro", "version": "0.1.0"})
    answer = compare_keys(keys(record()), keys(other))
    assert (answer.science, answer.performance) == ("with-caveats", "not-comparable")
    between = compare_groups(BENCHMARK, [record()], [other])
    assert between.word == "identical", "the same bytes are the same bytes, whoever wrote them"
    assert any("another program" in text for text in between.caveats)


def test_seeds_and_attempts_change_no_key() -> None:
    other = record()
    other["settings"]["seed"] = 99
    other["stages"]["refine"]["seed_read_back"] = 8
    answer = compare_keys(keys(record()), keys(other))
    assert (answer.science, answer.performance) == ("comparable", "comparable")
    assert keys(record()).performance_sha256 == keys(other).performance_sha256


def test_variables_of_the_caller_count_only_where_a_stage_would_see_them() -> None:
    def with_variables(**variables: str) -> dict[str, Any]:
        run = record()
        run["fingerprint"].append({"name": "pytorch", "status": "ok", "data": {"environment": variables}})
        return run

    plain = keys(with_variables())
    assert keys(with_variables(OMP_NUM_THREADS="1", PYTHONHASHSEED="3")).performance_sha256 == plain.performance_sha256
    other = compare_keys(plain, keys(with_variables(NVIDIA_TF32_OVERRIDE="0")))
    assert other.performance == "not-comparable"


def test_a_run_that_failed_early_differs_in_nothing_it_never_had() -> None:
    other = record()
    other.update(outcomes={}, status="failed")
    assert compare_keys(keys(record()), keys(other)).science == "comparable"


def test_a_twin_may_be_simulated_with_other_rounding_and_a_deposit_may_not() -> None:
    one, other = record(), record()
    for run, letter in ((one, "a"), (other, "b")):
        run["settings"]["tier"] = "twin"
        run["data"]["files"] = [{"role": "particles", "sha256": letter * 64}]
    answer = compare_keys(keys(one), keys(other))
    assert answer.science == "with-caveats"
    assert any("other rounding" in reason for reason in answer.reasons("science", "caveat"))


def test_every_field_of_a_key_has_a_rule_of_its_own() -> None:
    table = rule_table()
    found = compare_keys(keys(record()), keys(_emptied()))
    assert len(found.differences) > 25
    for row in found.differences:
        assert row.reason != table.otherwise.reason, row.field


def _emptied() -> dict[str, Any]:
    """A run with another of everything."""
    other = record()
    for group in (SCIENCE, PERFORMANCE):
        for change, _ in group.values():
            change(other)
    other["settings"].update(benchmark="c", dataset="e", deterministic=True, executor="slurm", cryorepro_version="9")
    other["settings"]["tier_parameters"] = {"particles": 7}
    other["stages"]["refine"]["program"] = {"name": "other"}
    other["fingerprint"][3]["data"].update(kind="docker", image_sha256="d" * 64)
    return other


def test_a_run_is_known_by_the_keys_it_recorded_itself() -> None:
    """Its own benchmark may have defined the metric otherwise; the one it is judged with cannot hide that."""
    other = record()
    recorded = keys(record()).model_dump(mode="json")
    recorded["science"]["metrics"]["resolution"]["parameters"] = {"threshold": 0.5}
    other["keys"] = recorded
    found = compare_groups(BENCHMARK, [record()], [other])
    assert found.word == "not-comparable"
    assert "the metric is defined otherwise" in found.rows[0].reason
    other["keys"] = {**recorded, "version": 0}
    assert compare_groups(BENCHMARK, [record()], [other]).word == "identical", "keys of another version are made again"


@given(st.integers(0, 2**32))
def test_a_digest_does_not_depend_on_the_order_of_keys(seed: int) -> None:
    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        items = [(name, shuffled(item)) for name, item in value.items()]
        random.Random(seed).shuffle(items)
        return dict(items)

    science = keys(record()).science
    assert digest(shuffled(science)) == digest(science)


def test_keys_survive_json_and_comparing_is_symmetric_in_its_words() -> None:
    one, other = keys(record()), keys(_emptied())
    again = Keys.model_validate(json.loads(one.model_dump_json()))
    assert compare_keys(one, again).differences == ()
    there, back = compare_keys(one, other), compare_keys(other, one)
    assert (there.science, there.performance) == (back.science, back.performance)
    assert [row.field for row in there.differences] == [row.field for row in back.differences]


def test_times_are_compared_on_equal_keys_only() -> None:
    def timed(*seconds: float) -> list[dict[str, Any]]:
        runs = []
        for place, wall in enumerate(seconds):
            run = copy.deepcopy(record())
            run["run"], run["settings"]["seed"] = f"r{place}", place + 1
            run["stages"]["refine"]["usage"]["wall_seconds"] = wall
            runs.append(run)
        return runs

    base = timed(100, 101, 99)
    words = {
        "matches": timed(102, 101, 100),
        "faster": timed(50, 51, 52),
        "slower": timed(150, 149, 151),
        "inconclusive": timed(80, 130, 100),
    }
    for word, runs in words.items():
        assert compare_groups(BENCHMARK, base, runs).performance == word
    assert compare_groups(BENCHMARK, base, timed(50)).performance == "inconclusive", "one run"
    perturbed = timed(50, 51, 52)
    perturbed[1]["stages"]["refine"]["perturbed"] = [{"reason": "co-tenant", "detail": "x"}]
    found = compare_groups(BENCHMARK, base, perturbed)
    assert (found.performance, "co-tenant" in found.performance_reason) == ("inconclusive", True)
