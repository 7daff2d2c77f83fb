"""Benchmark records against the models of cryosparc-tools themselves: theirs read, ours written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryosparc.models.benchmarks import PerformanceBenchmark, ReferencePerformanceBenchmark

from cryorepro.compare.bench import compare_bench
from cryorepro.compare.bench_cryosparc import to_cryosparc
from cryorepro.compare.bench_files import load_bench
from cryorepro.em.errors import InputError
from tests.compare.test_bench import record, timed


def written(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content) if not isinstance(content, str) else content)
    return str(path)


def theirs(version: str = "v5.0.3", **timings: Any) -> str:
    one = PerformanceBenchmark(
        project_uid="P1", job_uid="J2", type="gpu", cryosparc_version=version, gpu_name="NVIDIA H200",
        instance_information={"platform_node": "node7", "cpu_model": "EPYC"}, timings=timings,
    )  # fmt: skip
    return str(one.model_dump_json(by_alias=True))


def test_their_record_is_read_and_nothing_private_of_it_is_kept(tmp_path: Path) -> None:
    timings: dict[str, Any] = {"fsc_spherical": {"put_mapr_on_gpu": 0.5, "total": 1}, "picking": 2.5, "note": "text"}
    read = load_bench(written(tmp_path / "a.json", theirs(**timings)))
    times = {test.name: test.median_seconds for test in read.tests}
    assert times == {"fsc_spherical.put_mapr_on_gpu": 0.5, "fsc_spherical.total": 1.0, "picking": 2.5}
    assert {(test.group, test.device) for test in read.tests} == {("gpu", "NVIDIA H200")}
    assert "node7" not in read.model_dump_json(), "host names stay behind"


def test_ours_is_one_of_theirs_and_comes_back(tmp_path: Path) -> None:
    ours = record(timed("engine_A", 1.0, 1.1, 1.2), timed("fs_b", 2.0, 2.0, 2.0, group="fs"))
    parts = to_cryosparc(ours)
    models = [ReferencePerformanceBenchmark.model_validate(part) for part in parts]
    assert [model.type for model in models] == ["gpu", "fs"]
    assert models[0].timings["engine_A"] == {"total": 1.1, "project": 0.1}
    assert models[0].instance_information.cpu_model == "EPYC 7543"
    assert models[0].instance_information.platform_node == ""
    assert set(parts[0]) <= set(ReferencePerformanceBenchmark.model_fields), "no field that theirs lacks"
    back = load_bench(written(tmp_path / "list.json", parts))
    assert {test.name: test.median_seconds for test in back.tests} == {
        "engine_A.total": 1.1, "engine_A.project": 0.1, "fs_b.total": 2.0, "fs_b.project": 0.1,
    }  # fmt: skip


def test_only_records_of_one_version_of_theirs_are_compared(tmp_path: Path) -> None:
    records = [
        load_bench(written(tmp_path / f"{number}.json", theirs(version, picking=seconds)))
        for number, (version, seconds) in enumerate([("v5.0.3", 2.0), ("v5.0.3", 1.0), ("v4.3.0", 1.0)])
    ]
    ours = record(timed("picking", 1.0, 1.0, 1.0))
    (row,) = compare_bench([*records, ours], ["a", "b", "c", "d"]).rows
    assert [cell.speed_up for cell in row.cells] == [1.0, 2.0, None, None]
    assert "cryosparc_version v4.3.0, the reference v5.0.3" in str(row.cells[2].reason)
    assert "made by cryorepro" in str(row.cells[3].reason)


@pytest.mark.parametrize(
    "content",
    [
        '{"type": "gpu", "timings": {"a": -1}}',
        '{"type": "gpu", "timings": {"a": 1e400}}',
        '{"type": "gpu", "timings": {"a": NaN}}',
        '{"type": "gpu", "timings": {"a": 1' + "0" * 400 + "}}",
        '{"type": "gpu", "timings": {"a": ' + '{"b": ' * 500 + "1" + "}" * 500 + "}}",
        '{"type": "gpu", "timings": {"\\u001b[2J": 1}}',
        '[{"type": "gpu", "timings": {"a": 1}}, {"type": "gpu", "timings": {"a": 2}}]',
        "[]", "3", "{", "\x00", '{"timings": null}',
    ],
)  # fmt: skip
def test_garbage_is_one_sentence(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError) as caught:
        load_bench(written(tmp_path / "x.json", content))
    assert str(tmp_path / "x.json") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
