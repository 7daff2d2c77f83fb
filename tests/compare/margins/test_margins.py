"""Margins: variance components, tolerance factors, held-out runs, and an edit that changes nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cryorepro.compare.margins.anova import components
from cryorepro.compare.margins.patch import difference, patched, write
from cryorepro.compare.margins.propose import Settings, propose
from cryorepro.compare.margins.tolerance import one_sided, two_sided
from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.shipped import shipped
from cryorepro.model.strict_yaml import load_record

number = st.floats(-100, 100).map(lambda value: round(value, 6))
group = st.lists(number, min_size=2, max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(group, min_size=2, max_size=5))
def test_the_components_are_those_of_the_f_test(groups: list[list[float]]) -> None:
    """F = mean square between over within; ISO 5725's s_L squared follows from it and the mean group size."""
    found = components(groups)
    if found.repeatability < 1e-3:
        return
    f = float(stats.f_oneway(*groups).statistic)
    sizes = [len(values) for values in groups]
    size = (sum(sizes) - sum(n * n for n in sizes) / sum(sizes)) / (len(sizes) - 1)
    expected = max(0.0, (f - 1) * found.repeatability**2 / size)
    assert found.between is not None and found.reproducibility is not None
    assert found.between**2 == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert found.reproducibility**2 == pytest.approx(found.repeatability**2 + found.between**2)


def test_components_of_a_known_ensemble_are_recovered() -> None:
    draws = np.random.default_rng(3)
    shifts = draws.normal(0, 2.0, 200)
    found = components([list(10 + shift + draws.normal(0, 0.5, 8)) for shift in shifts])
    assert found.repeatability == pytest.approx(0.5, rel=0.05)
    assert found.between == pytest.approx(2.0, rel=0.12)
    assert found.mean == pytest.approx(10, abs=0.5)


def test_without_a_repeated_condition_nothing_is_said() -> None:
    with pytest.raises(InputError, match="no condition has two runs"):
        components([[1.0], [2.0]])
    alone = components([[1.0, 2.0, 3.0]])
    assert alone.reproducibility is None
    assert alone.total == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "factor"), [(3, 9.916), (5, 5.079), (10, 3.379), (30, 2.549)])
def test_two_sided_factors_are_the_tabulated_ones(n: int, factor: float) -> None:
    """95 % of the population with 95 % confidence: exact factors of ISO 16269-6, which Howe's meets within 3 %."""
    assert two_sided(n, n - 1, 0.95, 0.95) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("n", [4, 8])
def test_a_one_sided_bound_holds_the_stated_share_as_often_as_stated(n: int) -> None:
    draws = np.random.default_rng(11).normal(0, 1, (20_000, n))
    bounds = draws.mean(axis=1) - one_sided(n, n - 1, 0.95, 0.9) * draws.std(axis=1, ddof=1)
    assert np.mean(stats.norm.sf(bounds) >= 0.95) == pytest.approx(0.9, abs=0.01)


def run(seed: int, threads: int, accuracy: float, shell: float) -> dict[str, Any]:
    def row(value: float, unit: str) -> dict[str, Any]:
        return {"status": "measured", "reason": None, "value": {"value": value, "unit": unit}}

    return {
        "run": f"{seed}-{threads}",
        "settings": {"seed": seed, "threads": threads, "device": "cpu", "tier": "twin"},
        "stages": {"class3d": {"runner": "relion-like", "program": {"version": "1"}}},
        "fingerprint": [],
        "attempts": [{"host_hash": "h"}],
        "outcomes": {"resolution": row(shell, "shells"), "class-accuracy": row(accuracy, "fraction")},
    }


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "empiar-10028.yaml"
    path.write_text((shipped("specs") / "empiar-10028.yaml").read_text())
    return path


def ensemble(accuracies: list[float]) -> list[dict[str, Any]]:
    return [run(seed, 1, value, 20) for seed, value in enumerate(accuracies, 1)]


def test_a_margin_is_proposed_and_held_out_runs_lie_inside(spec: Path) -> None:
    benchmark = load_record(spec, Benchmark)
    runs = ensemble([0.99, 0.992, 0.991, 0.989, 0.993, 0.990])
    rows = {row.outcome: row for row in propose(benchmark, "twin", runs, Settings())}
    accuracy = rows["class-accuracy"]
    assert accuracy.margin is not None and accuracy.parts is not None and accuracy.value is not None
    assert (accuracy.parts.runs, accuracy.held_out, accuracy.moved) == (4, 2, ())
    factor = one_sided(4, 3, 0.95, 0.9)
    assert accuracy.margin >= factor * accuracy.parts.repeatability
    assert accuracy.value - accuracy.margin <= 0.989
    assert "ISO 5725-2" in accuracy.reason and "2 held-out runs lie inside" in accuracy.reason
    shells = rows["resolution"]
    assert shells.parts is not None and shells.margin is not None
    assert shells.parts.repeatability == pytest.approx(1 / math.sqrt(12)), "rounding to a shell is a spread"
    assert shells.margin == float(int(shells.margin)) >= 1
    assert rows["pose-error"].margin is None, "the runs did not measure it"


def test_a_held_out_run_outside_widens_the_margin(spec: Path) -> None:
    benchmark = load_record(spec, Benchmark)
    steady = [0.9900, 0.9901, 0.9902, 0.9900, 0.9901, 0.9902]
    outlier = [*steady[:5], 0.95]
    before, after = (
        next(row for row in propose(benchmark, "twin", ensemble(values), Settings()) if row.outcome == "class-accuracy")
        for values in (steady, outlier)
    )
    assert before.margin is not None and after.margin is not None
    assert after.moved == (0.95,)
    assert after.margin > 10 * before.margin
    assert "fell outside at first and widened it" in after.reason


def test_conditions_are_told_apart(spec: Path) -> None:
    benchmark = load_record(spec, Benchmark)
    one = [run(seed, 1, 0.99 + 0.001 * (seed % 3), 20) for seed in range(1, 7)]
    two = [run(seed, 2, 0.94 + 0.001 * (seed % 3), 20) for seed in range(1, 7)]
    row = next(row for row in propose(benchmark, "twin", one + two, Settings()) if row.outcome == "class-accuracy")
    assert row.parts is not None and row.parts.reproducibility is not None
    assert row.parts.conditions == 2
    assert row.parts.reproducibility > 10 * row.parts.repeatability


def test_the_edit_changes_margins_and_reasons_and_nothing_else(spec: Path) -> None:
    benchmark = load_record(spec, Benchmark)
    before = spec.read_text()
    proposals = propose(benchmark, "twin", ensemble([0.99, 0.992, 0.991, 0.989, 0.993, 0.990]), Settings())
    new = patched(spec, "twin", proposals)
    changed = [
        line for line in difference(spec, new).splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert changed
    write(spec, new)
    after = load_record(spec, Benchmark)
    wanted = {row.outcome: row for row in proposals if row.margin is not None}
    assert set(wanted) == {"resolution", "class-accuracy"}
    for old, fresh in zip(benchmark.outcomes, after.outcomes, strict=True):
        row = wanted.get(fresh.name)
        if row is None:
            assert fresh == old
            continue
        tolerance = fresh.expect["twin"].tolerance
        assert (fresh.expect["twin"].value, tolerance.margin, tolerance.reason) == (row.value, row.margin, row.reason)
        assert fresh.tolerance == old.tolerance, "the claim's own margin is another one"
    assert before.splitlines()[0] == spec.read_text().splitlines()[0], "the comment at the top"
    assert after.model_copy(update={"outcomes": []}) == benchmark.model_copy(update={"outcomes": []})


def test_a_flow_mapping_is_edited_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    text = (Path(__file__).resolve().parents[2] / "toy" / "cryorepro_toy" / "toy.yaml").read_text()
    path.write_text(text.replace("margin: 0,", "margin: 0,  # exact\n             ") + "# the end\n")
    benchmark = load_record(path, Benchmark)
    runs = [run(seed, 1, 0, 0) for seed in range(1, 7)]
    for seed, record in enumerate(runs, 1):
        value = {"value": 4950.0 + seed % 3, "unit": "counts"}
        record["outcomes"] = {"total": {"status": "measured", "reason": None, "value": value}}
    proposals = propose(benchmark, "twin", runs, Settings())
    write(path, patched(path, "twin", proposals))
    assert "# exact\n" in path.read_text() and path.read_text().endswith("# the end\n")
    assert load_record(path, Benchmark).outcomes[0].expect["twin"].tolerance.margin == proposals[0].margin
