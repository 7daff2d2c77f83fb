"""Rules one by one, on rows made for them."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.compare.claims_lint.across import check_across
from cryorepro.compare.claims_lint.arithmetic import check_arithmetic
from cryorepro.compare.claims_lint.commands import ignored_options, options, runtime_options, science_options
from cryorepro.compare.claims_lint.conflict import check_conflict
from cryorepro.compare.claims_lint.finding import Record
from cryorepro.compare.claims_lint.hardware import check_memory
from cryorepro.compare.claims_lint.identical import check_identical
from cryorepro.compare.claims_lint.order import check_order
from cryorepro.compare.claims_lint.profile import check_profile
from cryorepro.compare.claims_lint.rounding import half_unit, interval, read_print
from cryorepro.compare.claims_lint.shells import check_shells
from cryorepro.compare.claims_lint.too_short import check_too_short
from cryorepro.model.claim import Claim, Derivation
from cryorepro.model.hardware import Gpu
from cryorepro.model.machines import Machines


def claim(name: str, value: float, **fields: Any) -> Claim:
    given: dict[str, Any] = {
        "dataset": "d", "quantity": "wall_time", "unit": "seconds", "workload": "w", "software": "RELION 5",
        "hardware": "h", "source": "s", "locator": "l", "quality": "primary",
    }  # fmt: skip
    return Claim(id=name, value=value, **(given | fields))


def record(*claims: Claim, machines: Machines | None = None) -> Record:
    return Record({one.id: one for one in claims}, {}, machines or Machines({}, {}, {}))


@pytest.mark.parametrize(
    ("text", "value", "half", "malformed"),
    [
        ("198 m 51 s", 11931, 0.5, False),
        ("3 h 06 m", 11160, 30, False),
        ("27h16m56s", 98216, 0.5, False),
        ("2m03s", 123, 0.5, False),
        ("2.79 h", 10044, 18, False),
        ("198.9 min", 11934, 3, False),
        ("1.7 d", 146880, 4320, False),
        ("8:21 h:min", 30060, 30, False),
        ("2.10 h:min", 7800, 30, True),
        ("8:75 h:min", 33300, 30, True),
        ("1,266", 1266, 0.5, False),
        ("13,640,011,200", 13640011200, 0.5, False),
        ("37 %", 0.37, 0.005, False),
        ("749k", 749000, 500, False),
        ("91.40", 91.4, 0.005, False),
        ("-114.15", -114.15, 0.005, False),
    ],
)
def test_printed_figures_are_read(text: str, value: float, half: float, malformed: bool) -> None:
    printed = read_print(text)
    assert printed is not None
    assert printed.value == pytest.approx(value, rel=1e-12)
    assert printed.half_unit == pytest.approx(half)
    assert printed.malformed is malformed


@pytest.mark.parametrize("text", ["", "about 5", "72 -> 30 min", "5 apples", "1,26", "12:30", "3 h and more", "nan"])
def test_other_forms_are_not_guessed(text: str) -> None:
    assert read_print(text) is None


@given(st.text(max_size=30))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    read_print(text)


@given(st.integers(-(10**6), 10**6), st.integers(0, 6))
def test_half_a_unit_of_the_last_digit(digits: int, decimals: int) -> None:
    value = float(Fraction(digits, 10**decimals))
    last = max(len(repr(value).partition(".")[2].rstrip("0")), 0) if "e" not in repr(value) else decimals
    assert half_unit(value) == pytest.approx(0.5 * 10.0**-last)


def test_about_is_a_whole_unit_and_a_count_is_exact() -> None:
    assert interval(claim("a", 4.7, approximate=True)).high == pytest.approx(4.8)
    assert interval(claim("a", 3, unit="runs")).low == 3
    assert interval(claim("a", 3, unit="seconds")).low == 2.5


@given(st.integers(16, 600), st.integers(80, 500), st.data())
def test_every_shell_of_a_box_is_accepted_as_it_is_printed(box: int, hundredths: int, data: st.DataObject) -> None:
    pixel = hundredths / 100
    shell = data.draw(st.integers(1, box // 2))
    printed = round(box * pixel / shell, 2)
    row = claim("a", printed, unit="angstrom", box_px=box, pixel_size_angstrom=pixel, shell=shell)
    assert [one for one in check_shells(record(row)) if "Nyquist" not in one.message] == []


@given(st.integers(64, 600), st.integers(100, 500), st.data())
def test_halfway_between_two_low_shells_is_refused(box: int, hundredths: int, data: st.DataObject) -> None:
    pixel = hundredths / 100
    shell = data.draw(st.integers(2, 20))
    between = round(box * pixel / (shell + 0.5), 2)
    row = claim("a", between, printed=f"{between:.2f}", unit="angstrom", box_px=box, pixel_size_angstrom=pixel)
    assert len(list(check_shells(record(row)))) == 1


def test_9_65_is_shell_50_of_482_4() -> None:
    fields: dict[str, Any] = {"unit": "angstrom", "box_px": 360, "pixel_size_angstrom": 1.34}
    assert list(check_shells(record(claim("a", 9.65, shell=50, **fields)))) == []
    wrong = list(check_shells(record(claim("a", 9.75, **fields))))
    assert "shell 49 is 9.8449 A, shell 50 is 9.6480 A" in wrong[0].message


HOURS_TIMES_PRICE = Derivation(kind="product", of=["t", "p"], scale="1/3600")


@given(st.floats(0.01, 1e5), st.floats(0.01, 1e3), st.integers(1, 4))
def test_a_cost_rounded_from_its_terms_is_sound(seconds: float, price: float, decimals: int) -> None:
    time_printed, price_printed = float(f"{seconds:.2f}"), float(f"{price:.3f}")
    cost = float(f"{time_printed * price_printed / 3600:.{decimals}f}")
    rows = (
        claim("t", time_printed),
        claim("p", price_printed, unit="USD/h", quantity="spot_price"),
        claim(
            "c", cost, unit="USD", quantity="cost", derived=Derivation(kind="product", of=["t", "p"], scale="1/3600")
        ),
    )
    assert list(check_arithmetic(record(*rows))) == []


@pytest.mark.parametrize(
    ("kind", "value", "sound"),
    [
        ("ratio", 2.5, True), ("ratio", 2.4, False), ("sum", 141.0, True), ("sum", 139.0, False), ("sum", 145.0, False),
        ("difference", 60.0, True), ("difference", 59.0, False), ("mean", 70.0, True), ("mean", 71.0, False),
        ("spread", 0.857, True), ("spread", 0.5, False), ("max", 100.0, True), ("max", 99.0, False),
        ("product", 4000.0, True), ("product", 4100.0, False),
    ],
)  # fmt: skip
def test_formulas(kind: Any, value: float, sound: bool) -> None:
    derived = Derivation(kind=kind, of=["a", "b"])
    rows = claim("a", 100.0, printed="100.00"), claim("b", 40.0, printed="40.00")
    result = claim("c", value, quantity="derived", unit="-", derived=derived)
    assert (list(check_arithmetic(record(*rows, result))) == []) is sound


def test_a_missing_term_is_said() -> None:
    row = claim("a", 1.0, derived=Derivation(kind="sum", of=["nowhere"]))
    assert "'nowhere' is not among the claims" in next(iter(check_arithmetic(record(row)))).message


def test_conflict_needs_one_run_one_quantity_and_disjoint_prints() -> None:
    first = claim("a", 11931, printed="198 m 51 s", run="r")
    assert list(check_conflict(record(first, claim("b", 11940, printed="199 min", run="r")))) == []
    assert list(check_conflict(record(first, claim("b", 11871, run="other")))) == []
    assert list(check_conflict(record(first, claim("b", 11871, run="r", step="x")))) == []
    assert len(list(check_conflict(record(first, claim("b", 11871, run="r"))))) == 1


def gpu(name: str, bandwidth: float, tflops: float, memory: float) -> Gpu:
    return Gpu(
        name=name, family=name, source_name=name, memory_gb=memory, memory_type="m", bandwidth_gb_per_s=bandwidth,
        fp32_tflops=tflops, fp64_tflops=1, boost_clock_mhz=1, power_limit_w=1, bus="b", compute_capability="8.0",
        level2_cache_mb=1, released=date(2020, 1, 1), architecture="a", source="s", quality="secondary",
    )  # fmt: skip


CARDS = Machines({}, {"slow": gpu("slow", 100, 10, 8), "fast": gpu("fast", 200, 20, 24)}, {})


def test_a_better_card_that_is_much_slower() -> None:
    rows = [claim("a", 1000, gpu="slow", gpus=1), claim("b", 1600, gpu="fast", gpus=1)]
    found = list(check_order(record(*rows, machines=CARDS)))
    assert [one.claims for one in found] == [("b", "a")]
    assert list(check_order(record(rows[0], claim("b", 1400, gpu="fast", gpus=1), machines=CARDS))) == []
    assert list(check_order(record(rows[0], claim("b", 1600, gpu="fast", gpus=2), machines=CARDS))) == []


def test_a_run_on_less_memory_than_is_said_to_be_needed() -> None:
    need = claim("n", 16, quantity="minimum_gpu_memory", unit="GB")
    assert len(list(check_memory(record(need, claim("a", 10, gpu="slow"), machines=CARDS)))) == 1
    assert list(check_memory(record(need, claim("a", 10, gpu="fast"), machines=CARDS))) == []


def test_two_sites_with_the_same_cards() -> None:
    here = claim("a", 1000, gpu="V100", gpus=4, system="here")
    assert len(list(check_across(record(here, claim("b", 2001, gpu="V100", gpus=4, system="there"))))) == 1
    assert list(check_across(record(here, claim("b", 1999, gpu="V100", gpus=4, system="there")))) == []
    assert list(check_across(record(here, claim("b", 2001, gpu="V100", gpus=2, system="there")))) == []
    assert list(check_across(record(here, claim("b", 2001, gpu="V100", gpus=4, system="here")))) == []


def test_a_stage_that_does_not_fit_the_ratio_of_two_machines() -> None:
    def table(last: float) -> list[Claim]:
        common: dict[str, Any] = {"command": "--j 4", "gpus": 0, "nodes": 1}
        times = {"w1": 1000.0, "w2": 2000.0, "w3": 500.0, "w4": 800.0}
        ours = [claim(f"a{key}", value, workload=key, system="A", **common) for key, value in times.items()]
        times["w4"] *= last
        theirs = [claim(f"b{key}", 2 * value, workload=key, system="B", **common) for key, value in times.items()]
        return ours + theirs

    assert [one.claims for one in check_profile(record(*table(2.1)))] == [("aw4", "bw4")]
    assert list(check_profile(record(*table(1.9)))) == []


def test_figures_that_every_run_shares_to_the_last_digit() -> None:
    def runs(values: list[float]) -> list[Claim]:
        fields: dict[str, Any] = {"unit": "square angstrom", "quantity": "sharpening_bfactor", "step": "postprocess"}
        return [claim(f"b{index}", value, run=f"r{index}", **fields) for index, value in enumerate(values)]

    assert len(list(check_identical(record(*runs([-114.15386] * 4))))) == 1
    assert list(check_identical(record(*runs([-114.15386] * 3 + [-113.9])))) == []
    assert list(check_identical(record(*runs([-114.0] * 4)))) == []
    shells = [claim(f"s{i}", 3.629367, unit="angstrom", quantity="refine3d_resolution", run=f"r{i}") for i in range(5)]
    assert list(check_identical(record(*shells))) == []


@pytest.mark.parametrize(
    ("times", "short"),
    [
        ([(1, 8000.0), (2, 4000.0), (8, 1000.0)], []),
        ([(1, 8000.0), (2, 4000.0), (8, 100.0)], ["t2"]),
        ([(1, 40.0), (8, 41.0), (16, 39.0)], []),
        ([(1, 8000.0), (None, 2100.0)], []),
        ([(1, 8000.0), (None, 1900.0)], ["t1"]),
        ([(None, 1.0), (None, 9000.0)], []),
    ],
)
def test_too_short_counts_devices(times: list[tuple[int | None, float]], short: list[str]) -> None:
    rows = [claim(f"t{i}", value, system="m", gpus=count, run=f"r{i}") for i, (count, value) in enumerate(times)]
    assert [one.claims[0] for one in check_too_short(record(*rows))] == short


def test_commands_are_taken_apart() -> None:
    command = "mpirun -n 5 relion_refine_mpi --K 6 --pool 30 -j 4 --gpu --sym C1 -auto_refine --offset_range -5"
    assert options(command) == {"--K": "6", "--pool": "30", "--gpu": "", "--sym": "C1", "--offset_range": "-5"}
    assert science_options(command) == {"--K": "6", "--sym": "C1", "--offset_range": "-5"}
    assert runtime_options(command) == (("--gpu", ""), ("--pool", "30"))
    assert ignored_options(command) == ["-j", "-auto_refine"]
