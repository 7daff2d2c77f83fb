"""The documented operating characteristics: other draws, closed forms and the real decision agree with them."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.verdicts import operating_characteristics as oc
from cryorepro.compare import equivalence
from cryorepro.compare.equivalence import Band, decide
from cryorepro.compare.power import group_chances

DOCS = Path(__file__).resolve().parents[3] / "docs" / "verdicts.md"
AGAIN = 20_000
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("rule", list(oc.RULES))
def test_the_documented_figures_are_what_other_draws_give(rule: str) -> None:
    documented = oc.read_table(rule, DOCS.read_text())
    again = oc.simulate(rule, draws=AGAIN, seed=5)
    wanted = {key for key, pair in again.items() if not math.isnan(pair[0])}
    assert set(documented) == wanted
    assert {n for n, _ in wanted} >= set(range(2, 11))
    for key in wanted:
        for told, found in zip(documented[key], again[key], strict=True):
            spread = math.sqrt(max(told * (1 - told), 1e-4) * (1 / oc.DRAWS + 1 / AGAIN))
            assert abs(told - found) <= 4.5 * spread + 1e-3, key


def test_the_documented_figures_are_the_closed_forms() -> None:
    text = DOCS.read_text()
    for (n, shift), (accepted, rejected) in oc.read_table("ours-figure", text).items():
        if n > 1:
            exact = group_chances(shift, 1.0, n, Band(oc.MARGIN))
            assert accepted == pytest.approx(exact.inside, abs=0.012)
            assert rejected == pytest.approx(exact.outside, abs=0.012)
    for (n, shift), (accepted, _) in oc.read_table("prediction", text).items():
        assert accepted == pytest.approx(oc.prediction_chance(shift, n), abs=0.012)
        centre, bound = shift / math.sqrt(1 + 1 / n), stats.t.ppf(0.975, n - 1)
        closed = stats.nct.cdf(bound, n - 1, centre) - stats.nct.cdf(-bound, n - 1, centre)
        if not math.isnan(closed):  # scipy's far tail
            assert oc.prediction_chance(shift, n) == pytest.approx(closed, abs=1e-4)


def test_the_simulated_rule_is_the_one_that_decides() -> None:
    random = np.random.default_rng(1)
    words = {(True, False): "inside", (False, True): "outside", (False, False): "open"}
    for _ in range(300):
        n, shift = int(random.integers(2, 7)), float(random.uniform(0, 6))
        first, second = random.normal(0, 1, n), random.normal(shift, 1, n)
        estimates = (
            equivalence.against_figure(list(second), 0.0),
            equivalence.between(list(first), list(second)),
        )
        for estimate in estimates:
            low, high = estimate.interval
            pair = oc.rates(np.array([(low + high) / 2]), np.array([(high - low) / 2]))
            assert words[pair[0] == 1, pair[1] == 1] == decide(estimate, Band(oc.MARGIN))


def test_what_the_docs_say_of_the_usual_rule_is_in_the_table() -> None:
    text = DOCS.read_text()
    assert oc.read_table("prediction", text)[2, 10.0][0] == pytest.approx(0.52, abs=0.01)
    ours = oc.read_table("ours-figure", text)
    assert all(accepted <= 0.055 for (_, shift), (accepted, _) in ours.items() if shift == oc.MARGIN)
    assert all(ours[n, 10.0][0] == 0 for n in oc.RUNS)


def test_the_power_command_gives_the_same_chances(cryorepro: Command) -> None:
    done = cryorepro("power", "--margin", "3", "--spread", "1", "--shift", "2", "--json")
    rows = json.loads(done.stdout)
    for row in rows:
        exact = group_chances(2.0, 1.0, row["runs"], Band(3.0))
        assert (row["equivalent"], row["diverged"]) == pytest.approx((exact.inside, exact.outside))
        assert row["equivalent"] + row["diverged"] + row["inconclusive"] == pytest.approx(1)
    assert cryorepro("power", "--margin", "-1", "--spread", "1").returncode == 2


@pytest.mark.parametrize("spread", [0.05, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_rounding_to_shells_does_not_let_more_through(n: int, spread: float) -> None:
    """Whole shells at and beyond a margin of two: accepted at most 6 % of the time, within the error of 4,000 draws."""
    random = np.random.default_rng([n, int(100 * spread)])
    for shift in (2.0, 2.25, 2.5, 3.0):
        shells = np.round(20 + random.normal(shift, spread, (4_000, n)))
        sd = np.maximum(shells.std(axis=1, ddof=1), equivalence.SHELL_SD)
        half = stats.t.ppf(0.95, n - 1) * sd / math.sqrt(n)
        middle = shells.mean(axis=1) - 20
        accepted = np.mean((middle - half >= -2) & (middle + half <= 2))
        assert accepted <= 0.06 + 3 * math.sqrt(0.06 * 0.94 / 4_000)
    sample = [float(value) for value in shells[0]]
    found = equivalence.against_figure(sample, 20.0, equivalence.least_spread(sample, "shells"))
    assert (found.interval[1] - found.interval[0]) / 2 == pytest.approx(half[0])
