"""Rules for picks: limits, the two automatic ones against heaps that are known, and decisions as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.picking.decisions import by_hand, by_reasons, read_decision, replayed, write_decision
from cryorepro.em.picking.inspection import KEPT, Limits, automatic_limits, otsu, valley
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.tables import PickTable


def picks(ncc: np.ndarray, power: np.ndarray | None = None, at: np.ndarray | None = None) -> Picks:
    count = len(ncc)
    place = np.stack([10.0 * np.arange(count), np.full(count, 5.0)], axis=1) if at is None else at
    values = np.full(count, 8.0) if power is None else power
    return Picks(place, ncc, values, np.zeros(count), np.ones(count, dtype=np.int64), np.full(count, 120.0))


def heaps(seed: int, false: int = 400, true: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of false picks, which fall off from a cut at 0.2, and of true ones with a tail to the left."""
    rng = np.random.default_rng(seed)
    low = 0.2 + rng.exponential(0.06, false)
    high = 0.68 - np.abs(rng.normal(0.0, 0.07, true)) + rng.normal(0.0, 0.03, true)
    return low, high


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), false=st.integers(100, 800), true=st.integers(200, 2000))
def test_both_rules_part_two_heaps(seed: int, false: int, true: int) -> None:
    low, high = heaps(seed, false, true)
    values = np.concatenate([low, high])
    for threshold in (valley(values), otsu(values)):
        assert threshold is not None
        assert (high >= threshold).mean() > 0.9
        assert (low >= threshold).mean() < 0.15


def test_one_heap_has_no_valley_and_keeps_all() -> None:
    values = np.random.default_rng(1).normal(0.6, 0.05, 500)
    assert valley(values) is None
    assert valley(np.full(40, 0.5)) is None
    table = PickTable(Path("picks"), ("a",), (picks(values),))
    assert automatic_limits(table, "valley", Limits()).lowest_ncc is None


def test_otsu_is_the_best_of_all_thresholds() -> None:
    values = np.concatenate(heaps(3))

    def between(threshold: float) -> float:
        below, above = values[values < threshold], values[values >= threshold]
        return float(len(below) * len(above) * (below.mean() - above.mean()) ** 2)

    tried = np.linspace(0.21, 0.7, 300)
    assert between(otsu(values)) >= 0.999 * max(between(value) for value in tried)


def test_limits_name_what_each_pick_breaks() -> None:
    ncc, power = np.array([0.5, 0.3, 0.5, 0.2, np.nan]), np.array([9.0, 9.0, 50.0, 1.0, 9.0])
    reasons = Limits(0.34, 4.0, 20.0).reasons(ncc, power)
    assert reasons == [KEPT, "NCC below 0.34", "power above 20", "NCC below 0.34; power below 4", "NCC below 0.34"]
    assert Limits().reasons(ncc, power) == [KEPT] * 5


def test_powers_far_from_those_kept_go_and_given_limits_stand() -> None:
    low, high = heaps(4)
    power = np.concatenate([np.full(len(low), 3.0), np.exp(np.random.default_rng(2).normal(2.0, 0.2, len(high)))])
    power[-1] = 60.0
    table = PickTable(Path("picks"), ("a",), (picks(np.concatenate([low, high]), power),))
    found = automatic_limits(table, "valley", Limits())
    assert found.highest_power is not None and 9.0 < found.highest_power < 25.0
    given = automatic_limits(table, "otsu", Limits(lowest_ncc=0.33, highest_power=100.0))
    assert (given.lowest_ncc, given.highest_power) == (0.33, 100.0) and given.lowest_power is not None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (picks(np.full(5, 0.5)), "too few"),
        (picks(np.full(30, np.nan)), "no correlation"),
        (picks(np.full(30, 0.5), np.full(30, np.nan)), "no correlation or no local power"),
    ],
    ids=["few", "no-ncc", "no-power"],
)
def test_limits_cannot_be_found_in_everything(table: Picks, words: str) -> None:
    with pytest.raises(InputError, match=words):
        automatic_limits(PickTable(Path("picks"), ("a",), (table,)), "valley", Limits())


@pytest.fixture
def table() -> PickTable:
    return PickTable(Path("picks"), ("m/a.mrc", "m/b.mrc"), (picks(np.linspace(0.9, 0.1, 9)), picks(np.array([0.4]))))


def test_a_decision_comes_back_as_it_was_written_and_replays(table: PickTable, tmp_path: Path) -> None:
    reasons = Limits(lowest_ncc=0.35).reasons(table.joined("ncc"), table.joined("power"))
    write_decision(tmp_path / "decision.star", by_reasons(table, reasons), {"cryoreproDecidedBy": "limits"})
    read = read_decision(tmp_path / "decision.star")
    assert [why for part in read.reasons for why in part] == reasons
    moved = PickTable(table.source, table.names, tuple(picks(p.ncc, at=p.at_px + 0.01) for p in table.picks))
    again = replayed(moved, read)
    for one, other in zip(again.kept, read.kept, strict=True):
        np.testing.assert_array_equal(one.at_px, other.at_px)
    assert [len(part) for part in again.kept] == [6, 1]


def test_marks_decide_whatever_the_reason_says(table: PickTable, tmp_path: Path) -> None:
    path = tmp_path / "decision.star"
    write_decision(path, by_reasons(table, [KEPT] * 10), {"cryoreproDecidedBy": "limits"})
    rows = path.read_text().splitlines()
    place = next(number for number, row in enumerate(rows) if row.strip().startswith("m/b.mrc"))
    rows[place] = " ".join([*rows[place].split()[:-2], "0", "kept"])
    path.write_text("\n".join(rows) + "\n")
    read = read_decision(path)
    assert [len(part) for part in read.kept] == [9, 0]
    assert read.count()["left out by hand"] == 1


def test_a_decision_on_other_picks_is_refused(table: PickTable, tmp_path: Path) -> None:
    decision = by_reasons(table, [KEPT] * 10)
    other = PickTable(table.source, ("m/c.mrc", "m/b.mrc"), table.picks)
    with pytest.raises(InputError, match=r"m/a\.mrc, which has no picks here"):
        replayed(other, decision)
    away = PickTable(
        table.source, table.names, (picks(table.picks[0].ncc, at=table.picks[0].at_px + 3.0), table.picks[1])
    )
    with pytest.raises(InputError, match=r"kept pick at \(0.0, 5.0\) of m/a.mrc is no pick here"):
        replayed(away, decision)
    more = PickTable(table.source, (*table.names, "m/c.mrc"), (*table.picks, table.picks[1]))
    assert [len(part) for part in replayed(more, decision).kept] == [9, 1, 0]


def test_a_person_may_leave_out_and_add(table: PickTable) -> None:
    own = np.array([[20.0, 5.0], [333.0, 44.0]])
    saved = PickTable(Path("saved"), ("m/a.mrc",), (picks(np.array([np.nan, np.nan]), at=own),))
    decision = by_hand(table, saved)
    assert [len(part) for part in decision.kept] == [2, 0]
    np.testing.assert_allclose(decision.kept[0].at_px, own)
    assert decision.kept[0].ncc[0] == pytest.approx(table.picks[0].ncc[2]) and np.isnan(decision.kept[0].ncc[1])
