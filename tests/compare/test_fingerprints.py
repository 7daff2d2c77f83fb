"""Two fingerprints told apart: what can change numbers, what can change times, what neither."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cryorepro_probes.plugin import cryorepro_probes
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.compare.fingerprint_files import read_fingerprint
from cryorepro.compare.fingerprints import Rules, diff_fingerprints, flat_probe, rules
from cryorepro.em.errors import InputError
from cryorepro.model.fingerprint import ProbeResult
from tests.conftest import Command


def probe(name: str, data: dict[str, Any], error: str | None = None) -> ProbeResult:
    status = "failed" if error else "ok"
    return ProbeResult.model_validate(
        {"name": name, "plugin": "p", "status": status, "seconds": 0.1, "error": error, "data": data}
    )


GPU = {
    "index": 0,
    "name": "NVIDIA H200",
    "power_limit_mw": 700_000,
    "temperature_c": 30,
    "ecc": True,
    "pcie_width": 16,
}


@pytest.mark.parametrize(
    ("name", "left", "right", "field", "effect"),
    [
        ("cpu", {"microcode": "0x1"}, {"microcode": "0x2"}, "cpu.microcode", "performance"),
        ("cpu", {"flags": ["avx2"]}, {"flags": ["avx2", "avx512f"]}, "cpu.flags", "science"),
        ("cpu", {"frequency": {"governors": ["powersave"]}}, {"frequency": {"governors": ["performance"]}},
         "cpu.frequency.governors", "performance"),
        ("cpu", {"load_average_1_5_15_min": [1]}, {"load_average_1_5_15_min": [2]}, "cpu.load_average_1_5_15_min",
         "neither"),
        ("memory", {"total_bytes": 1000}, {"total_bytes": 1005}, "memory.total_bytes", "neither"),
        ("memory", {"total_bytes": 1000}, {"total_bytes": 2000}, "memory.total_bytes", "performance"),
        ("pytorch", {"torch": "2.12"}, {"torch": "2.13"}, "pytorch.torch", "science"),
        ("pytorch", {"environment": {}}, {"environment": {"OMP_NUM_THREADS": "2"}},
         "pytorch.environment.OMP_NUM_THREADS", "performance"),
        ("pytorch", {"environment": {}}, {"environment": {"NVIDIA_TF32_OVERRIDE": "1"}},
         "pytorch.environment.NVIDIA_TF32_OVERRIDE", "science"),
        ("relion", {"version": "3.1.3"}, {"version": "5.0"}, "relion.version", "science"),
        ("python", {"distributions": [{"name": "rich", "version": "14"}]},
         {"distributions": [{"name": "rich", "version": "15"}]}, "python.distributions.rich.version", "neither"),
        ("python", {"distributions": [{"name": "numpy", "version": "1"}]},
         {"distributions": [{"name": "numpy", "version": "2"}]}, "python.distributions.numpy.version", "science"),
        ("gpu", {"gpus": [GPU]}, {"gpus": [GPU | {"power_limit_mw": 500_000}]}, "gpu.gpus.0.power_limit_mw",
         "performance"),
        ("gpu", {"gpus": [GPU]}, {"gpus": [GPU | {"temperature_c": 60}]}, "gpu.gpus.0.temperature_c", "neither"),
        ("gpu", {"gpus": [GPU]}, {"gpus": [GPU | {"name": "NVIDIA A100"}]}, "gpu.gpus.0.name", "science"),
        ("third-party", {"fans": 1}, {"fans": 2}, "third-party.fans", "performance"),
    ],
)  # fmt: skip
def test_each_difference_has_the_effect_its_rule_gives(
    name: str, left: dict[str, Any], right: dict[str, Any], field: str, effect: str
) -> None:
    (row,) = diff_fingerprints([probe(name, left)], [probe(name, right)]).differs
    assert (row.field, row.effect) == (field, effect)
    assert row.reason


def test_what_one_side_could_not_read_is_never_the_same() -> None:
    good, failed = probe("pytorch", {"torch": "2.13"}), probe("pytorch", {}, error="took too long")
    for pair in ([good], [failed]), ([good], []), ([failed], [failed]):
        diff = diff_fingerprints(*pair)
        assert diff.same == 0
        assert [(row.field, row.effect) for row in diff.differs] == [("pytorch", "science")]
        assert not diff.comparable_times


def test_a_card_more_is_a_difference_of_performance() -> None:
    one, two = {"count": 1, "gpus": [GPU]}, {"count": 2, "gpus": [GPU, GPU | {"index": 1}]}
    diff = diff_fingerprints([probe("gpu", one)], [probe("gpu", two)])
    assert {row.field for row in diff.differs} >= {"gpu.count", "gpu.gpus.1.name"}
    assert not diff.comparable_times


DATA = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.integers(0, 2) | st.text("xy", max_size=2), max_size=5
)


@given(DATA, DATA)
def test_every_field_is_counted_once_and_the_order_of_the_sides_does_not_matter(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    forth = diff_fingerprints([probe("cpu", left)], [probe("cpu", right)])
    back = diff_fingerprints([probe("cpu", right)], [probe("cpu", left)])
    assert forth.same + len(forth.differs) == len(left.keys() | right.keys())
    assert [(row.field, row.effect) for row in forth.differs] == [(row.field, row.effect) for row in back.differs]
    assert [(row.left, row.right) for row in forth.differs] == [(row.right, row.left) for row in back.differs]


def test_every_field_of_this_machines_fingerprint_has_a_rule(cryorepro: Command, tmp_path: Path) -> None:
    done = cryorepro("fingerprint", "--json")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "here.json"
    path.write_text(done.stdout)
    probes = read_fingerprint(path)
    assert {row.name for row in probes} >= {row.name for row in cryorepro_probes()}
    table: Rules = rules()
    otherwise = [
        field
        for row in probes
        if row.name in {probe.name for probe in cryorepro_probes()}
        for field in flat_probe(row)
        if table.effect(field, None, None)[1] == table.otherwise.reason
    ]
    assert otherwise == []
    same = diff_fingerprints(probes, copy.deepcopy(probes))
    assert same.differs == ()
    assert same.comparable_times


def test_diff_on_the_command_line_names_each_group(cryorepro: Command, tmp_path: Path) -> None:
    for name, torch, governor, load in ("a", "2.12", "powersave", 1), ("b", "2.13", "performance", 2):
        rows = [
            probe("pytorch", {"torch": torch, "numpy": "2.4"}),
            probe("cpu", {"frequency": {"governors": [governor]}, "load_average_1_5_15_min": [load]}),
        ]
        content = {"fingerprint": [row.model_dump(mode="json") for row in rows]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    done = cryorepro("fingerprint", "diff", *files)
    assert done.returncode == 0, done.stderr
    assert "same: 1 fields" in done.stdout
    order = [done.stdout.index(word) for word in ("(science)", "pytorch.torch", "(performance)", "governors",
                                                  "(neither)", "load_average")]  # fmt: skip
    assert order == sorted(order)
    content = json.loads(cryorepro("fingerprint", "diff", *files, "--json").stdout)
    assert {row["effect"] for row in content["differs"]} == {"science", "performance", "neither"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "no fingerprint"),
        ('{"fingerprint": [{"name": 1}]}', "fingerprint.0"),
        (None, "cannot be read"),
    ],
)
def test_files_that_hold_no_fingerprint_are_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_fingerprint(path)


def test_raw_readings_are_shown_only_when_asked_for(cryorepro: Command) -> None:
    assert "model name" not in cryorepro("fingerprint", "--json").stdout
    shown = json.loads(cryorepro("fingerprint", "--json", "--show-private").stdout)
    assert "model name" in shown["private"]["cpu"]["raw"]["/proc/cpuinfo"]
    parsers = {row["name"]: row["parser"] for row in shown["fingerprint"]}
    assert parsers["cpu"] == shown["private"]["cpu"]["parser"] == "2"
