"""``cryorepro import`` of what a CryoSPARC master left: stages, times, hardware, outputs, and what is not known."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_cryosparc.importer import CryosparcImporter
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import write_cs
from cryorepro.em.formats.maps import write_map
from tests.conftest import Command
from tests.plugins.cryosparc.projects import (
    bson,
    events,
    job_4,
    job_5,
    linked,
    project_5,
    write_job,
    write_table,
)


def shown(cryorepro: Command, source: Path) -> dict[str, Any]:
    done = cryorepro("import", str(source))
    assert done.returncode == 0, done.stderr
    name = done.stdout.split(":")[0]
    record: dict[str, Any] = json.loads(cryorepro("show", name, "--json").stdout)
    return record


def test_a_project_of_version_5_is_a_run(cryorepro: Command, home: Path, tmp_path: Path) -> None:
    record = shown(cryorepro, project_5(tmp_path))
    stages = record["stages"]
    assert sorted(stages, key=lambda name: stages[name]["index"]) == [
        "j1-import_movies", "j2-patch_motion_correction_multi", "j9-nonuniform_refine_new", "j10-blob_picker_gpu",
        "j11-local_resolution",
    ]  # fmt: skip
    motion = stages["j2-patch_motion_correction_multi"]
    assert motion["kind"] == "motioncorrection" and motion["usage"]["wall_seconds"] == 30.0
    assert motion["program"]["version"] == "v5.0.3"
    assert motion["outputs"][0]["role"] == "micrographs" and motion["rows"]["micrographs"] == 4
    assert record["settings"]["parameters"]["j9-nonuniform_refine_new"] == {"refine_symmetry": "D7"}
    assert stages["j10-blob_picker_gpu"]["status"] == "interrupted"
    assert stages["j11-local_resolution"]["status"] == "planned", "what was never queued has no attempt"
    assert record["status"] == "interrupted" and record["integrity"] == {"intact": True, "sealed": True, "reason": ""}
    assert record["origin"]["origin"] == "cryosparc"


def test_what_is_missing_reads_unverifiable(cryorepro: Command, home: Path, tmp_path: Path) -> None:
    record = shown(cryorepro, project_5(tmp_path))
    refined = record["stages"]["j9-nonuniform_refine_new"]
    assert set(refined["usage"].values()) == {None}
    notes = " | ".join(refined["notes"])
    assert "wall time unverifiable" in notes and "J9_005_particles.cs is not in the export" in notes
    assert refined["numbers"] == {"reported_resolution_angstrom": 2.86}
    outcome = record["outcomes"]["resolution"]
    assert (
        outcome["status"] == "unverifiable"
        and outcome["value"] is None
        and outcome["reason"] == ("CryoSPARC reported 2.86 A; no half maps are in the export")
    )
    assert record["verdict"] is None and record["verdicts"] == []


def first_shell_below(first: NDArray[Any], second: NDArray[Any], threshold: float) -> int:
    """The last shell before the FSC falls below the threshold, worked out here with numpy alone."""
    one, two = (np.fft.fftn(volume) for volume in (first, second))
    axes = [np.fft.fftfreq(size) * size for size in first.shape]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))).round().astype(int)
    for shell in range(1, first.shape[0] // 2 + 1):
        a, b = one[radius == shell], two[radius == shell]
        curve = (a * b.conj()).sum().real / np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())
        if curve < threshold:
            return shell - 1
    return len(first) // 2


def test_half_maps_in_the_export_are_measured(cryorepro: Command, home: Path, tmp_path: Path) -> None:
    rng, n = np.random.default_rng(4), 24
    axes = np.meshgrid(*[np.arange(n) - n / 2] * 3, indexing="ij")
    signal = 30 * np.exp(-sum(axis**2 for axis in axes) / 8)
    halves = [(signal + rng.normal(size=(n, n, n))).astype(np.float32) for _ in range(2)]
    project = project_5(tmp_path)
    for name, half in zip(("A", "B"), halves, strict=True):
        write_map(project / "J9" / f"J9_map_half_{name}.mrc", half, 2.0)
    names = {f"map_half_{name}/path": f"J9/J9_map_half_{name}.mrc" for name in "AB"}
    write_cs(project / "J9" / "J9_volume.cs", {name: np.array([path], dtype=object) for name, path in names.items()})
    record = shown(cryorepro, project)
    outcome = record["outcomes"]["resolution"]
    assert outcome["status"] == "measured"
    assert (
        outcome["value"]["shell"] == first_shell_below(halves[0], halves[1], 0.143) and outcome["value"]["box_px"] == n
    )
    assert {entry["role"] for entry in record["stages"]["j9-nonuniform_refine_new"]["outputs"]} >= {"half1", "half2"}
    assert record["verdicts"] == [], "no claim is attempted"


def test_one_jobs_folder_alone_is_a_run_too(tmp_path: Path) -> None:
    run = CryosparcImporter().read(project_5(tmp_path) / "J2")
    (stage,) = run.stages
    assert stage.inputs == {"movies": "data.j1-imported_movies"} and stage.rows == {"micrographs": 4}
    assert not [note for note in stage.notes if "not in the export" in note]


def test_hardware_is_kept_and_names_and_secrets_are_not(cryorepro: Command, home: Path, tmp_path: Path) -> None:
    record = shown(cryorepro, project_5(tmp_path))
    probes = {probe["name"]: probe["data"] for probe in record["fingerprint"]}
    assert probes["cpu"] == {
        "model": "AMD EPYC 7543", "cores_physical": 32, "frequency": {"maximum_khz": 3700000.0},
    }  # fmt: skip
    assert probes["memory"] == {"total_bytes": round(503.55 * 2**30)}
    assert probes["gpu"]["gpus"] == [{"name": "NVIDIA A100", "memory_total_bytes": 42949672960}]
    written = "".join(path.read_text(errors="replace") for path in (home / "imported").rglob("*") if path.is_file())
    assert "secret-host" not in written and "do-not-keep" not in written and "psize_A" in written


def test_it_can_be_shown_and_compared_like_any_run(cryorepro: Command, home: Path, tmp_path: Path) -> None:
    first = cryorepro("import", str(project_5(tmp_path / "a"))).stdout.split(":")[0]
    other = project_5(tmp_path / "b")
    write_job(other, job_5("J2", "patch_motion_correction_multi", completed_at="2026-03-01T10:01:00Z"))
    second = cryorepro("import", str(other)).stdout.split(":")[0]
    table = cryorepro("show", first)
    assert table.returncode == 0 and "tier unknown, status" in table.stdout, table.stderr
    compared = cryorepro("compare", first, second, "--json")
    assert compared.returncode == 0, compared.stderr
    row = next(row for row in json.loads(compared.stdout)["stages"] if row["stage"].startswith("j2-"))
    assert row["wall_seconds"] == [30.0, 60.0]
    again = cryorepro("import", str(other))
    assert again.returncode == 2 and "imported already" in again.stderr
    assert cryorepro("runs", "--json").stdout.strip() == "[]", "runs of others never appear among one's own"


def test_version_4_with_the_log_in_bson(tmp_path: Path) -> None:
    project = tmp_path / "P9"
    parent = job_4("J3", "import_particles", completed_at=None, started_at=None)
    folder = write_job(project, parent)
    (folder / "events.bson").write_bytes(events("J3", 1_730_752_149_000, [0.0, 2.5, 41.0], [100.0, 900.5, 300.0]))
    parent_link = {"job_uid": "J3", "group_name": "imported_particles"}
    child = job_4(
        "J4", "class_2D", status="failed", failed_at="2024-11-04T20:39:09.5", completed_at=None,
        params_spec={"class2D_K": {"value": 50}, "compute_use_ssd": {"value": False}},
        input_slot_groups=[{"name": "particles", "connections": [parent_link]}],
        output_result_groups=[{"name": "particles", "type": "particle", "num_items": 6}],
        output_results=[{"group_name": "particles", "metafiles": ["J4/J4_000_particles.cs", "J4/J4_020_particles.cs"]}],
        errors_run=[{"message": "out of GPU memory\x1b[31m", "warning": False}],
    )  # fmt: skip
    write_table(write_job(project, child) / "J4_020_particles.cs", 6)
    run = CryosparcImporter().read(project)
    first, second = run.stages
    assert first.wall_seconds == 41.0 and first.peak_memory_bytes == int(900.5 * 2**20)
    assert first.notes == ["wall time is that from the first event to the last"]
    assert second.wall_seconds == 600.0 and second.status == "failed" and run.status == "failed"
    assert second.message == "out of GPU memory [31m" and second.inputs == {
        "particles": "j3-import_particles.imported_particles"
    }
    assert second.parameters == {"class2D_K": 50, "compute_use_ssd": False}
    assert second.rows == {"particles": 6} and second.files[0].path.name == "J4_020_particles.cs"


def test_the_worked_examples_of_bsonspec_org(tmp_path: Path) -> None:
    from cryorepro_cryosparc.bson import documents

    hello = b"\x16\x00\x00\x00\x02hello\x00\x06\x00\x00\x00world\x00\x00"
    listed = (
        b"1\x00\x00\x00\x04BSON\x00&\x00\x00\x00\x020\x00\x08\x00\x00\x00awesome\x00\x011\x00333333\x14@"
        b"\x102\x00\xc2\x07\x00\x00\x00\x00"
    )
    assert list(documents(hello + listed)) == [{"hello": "world"}, {"BSON": ["awesome", 5.05, 1986]}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("b.json", {"type": "extensive_validation", "cryosparc_version": "v5.0.3", "gpu_name": "NVIDIA H200",
                    "timings": {"patch_motion_correction_multi": {"total": 61.5, "io": 3}, "class_2D_new": 20}},
         {"patch_motion_correction_multi": 61.5, "class_2d_new": 20.0}),
        ("s.json", {"version": "v2.15.0", "job_uids": {"patch_motion": "J2"}, "timings": {"patch_motion": 302.25}},
         {"patch_motion": 302.25}),
        ("t.csv", "Job,Seconds\nimport_movies,10\nclass_2D,33.5\nclass_2D,34\n",
         {"import_movies": 10.0, "class_2d": 33.5, "class_2d-2": 34.0}),
    ],
    ids=["validation-record", "benchmark-script", "csv"],
)  # fmt: skip
def test_files_of_times_alone(
    name: str, content: Any, expected: dict[str, float], cryorepro: Command, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    record = shown(cryorepro, path)
    assert {stage: row["usage"]["wall_seconds"] for stage, row in record["stages"].items()} == expected
    assert record["elapsed_seconds"] == sum(expected.values())
    assert record["outcomes"]["resolution"]["status"] == "unverifiable"


def test_a_broken_table_is_unverifiable_and_the_rest_goes_on(tmp_path: Path) -> None:
    project = project_5(tmp_path)
    table = project / "J2" / "J2_micrographs.cs"
    table.write_bytes(table.read_bytes()[:-5])
    motion = CryosparcImporter().read(project).stages[1]
    assert motion.files == [] and motion.rows == {"micrographs": 4}
    assert motion.notes[0].startswith("output unverifiable: J2_micrographs.cs:"), motion.notes


def spoil(project: Path, how: str) -> None:
    job = project / "J2" / "job.json"
    document = json.loads(job.read_text())
    if how == "climbs":
        document["spec"]["outputs"]["micrographs"]["results"][0]["metafiles"] = ["../../etc/passwd.cs"]
    elif how == "absolute":
        document["spec"]["outputs"]["micrographs"]["results"][0]["metafiles"] = ["/etc/x.cs"]
    elif how == "no-uid":
        document["uid"] = "../J2"
    elif how == "status":
        document["status"] = 7
    elif how == "no-type":
        document = {"uid": "J2"}
    elif how == "list":
        document = [document]
    elif how == "deep":
        for _ in range(300):
            document["spec"]["params"] = {"a": document["spec"]["params"]}
    elif how == "circle":
        document["spec"]["inputs"] = {"movies": linked("J9", "volume")}
    elif how == "events":
        (project / "J2" / "events.bson").write_bytes(bson({"a": "b"})[:-2])
    elif how == "deep-events":
        deep: dict[str, Any] = {"type": "text"}
        for _ in range(60):
            deep = {"a": deep}
        (project / "J2" / "events.bson").write_bytes(bson(deep))
    elif how == "twice":
        write_job(project / "copy", document)
    job.write_text("{" * 5000 if how == "braces" else json.dumps(document))


@pytest.mark.parametrize(
    "how",
    [
        "climbs",
        "absolute",
        "no-uid",
        "status",
        "no-type",
        "list",
        "circle",
        "deep",
        "events",
        "deep-events",
        "twice",
        "braces",
    ],
)
def test_hostile_exports_are_refused_and_leave_nothing(
    how: str, cryorepro: Command, home: Path, tmp_path: Path
) -> None:
    project = project_5(tmp_path)
    spoil(project, how)
    done = cryorepro("import", str(project))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    kept = home / "imported"
    assert not kept.exists() or not list(kept.iterdir())


def test_a_link_out_of_the_project_is_not_followed(tmp_path: Path) -> None:
    project = project_5(tmp_path)
    outside = tmp_path / "outside.cs"
    write_table(outside, 3)
    (project / "J9" / "J9_005_particles.cs").symlink_to(outside)
    refined = CryosparcImporter().read(project).stages[2]
    assert refined.files == [] and refined.rows["particles"] == 7


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_any_bytes_are_documents_or_no_bson(content: bytes) -> None:
    from cryorepro_cryosparc.bson import NotBson, documents

    for framed in (content, struct.pack("<i", len(content) + 5) + content + b"\0"):
        with contextlib.suppress(NotBson):
            assert all(isinstance(document, dict) for document in documents(framed))


@pytest.mark.parametrize("text", ["job,seconds\na,soon\n", "job,seconds\na,-1\n", "a,b\n1,2\n", "job,seconds\n"])
def test_tables_of_no_times_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError):
        CryosparcImporter().read(path)


def test_what_nobody_recognises(cryorepro: Command, home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    for name in ("notes.txt", "absent"):
        done = cryorepro("import", str(tmp_path / name))
        assert done.returncode == 2 and done.stderr.count("\n") == 1
