"""Folders as a CryoSPARC master leaves them. Version 5 documents are written by cryosparc-tools' own models."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from cryosparc.dataset import Dataset
from cryosparc.models.job import Job

START = "2026-03-01T10:00:00Z"


def job_5(uid: str, kind: str, **changes: Any) -> dict[str, Any]:
    """``job.json`` of version 5."""
    spec = {"type": kind, "ui_tile_width": 1, "ui_tile_height": 1, "resource_spec": {}}
    spec |= {name: changes.pop(name) for name in ("params", "inputs", "outputs") if name in changes}
    known = {
        "uid": uid, "project_uid": "P1", "spec": spec, "job_dir": uid, "job_dir_size_last_updated": START,
        "uid_num": int(uid[1:]), "project_uid_num": 1, "status_num": 1, "build_errors": [], "status": "completed",
        "version": "v5.0.3", "started_at": START, "completed_at": "2026-03-01T10:20:00Z",
    }  # fmt: skip
    document: dict[str, Any] = json.loads(Job.model_validate(known | changes).model_dump_json(by_alias=True))
    return document


def linked(uid: str, output: str, kind: str = "particle") -> dict[str, Any]:
    """An input connected to an earlier job's output."""
    return {"type": kind, "title": "", "connections": [{"job_uid": uid, "output": output}]}


def output(kind: str, items: int, metafile: str | None = None, **statistics: Any) -> dict[str, Any]:
    """An output with its table."""
    results = [{"name": "blob", "dtype": "blob", "versions": [0], "metafiles": [metafile]}] if metafile else []
    return {"type": kind, "title": "", "num_items": items, "results": results, "latest_summary_stats": statistics}


def write_job(project: Path, document: dict[str, Any]) -> Path:
    """The job's folder, with its document in MongoDB's extended JSON."""
    folder = project / str(document["uid"])
    folder.mkdir(parents=True, exist_ok=True)
    dated = {
        key: {"$date": value} if key.endswith("_at") and isinstance(value, str) else value
        for key, value in document.items()
    }
    (folder / "job.json").write_text(json.dumps(dated))
    return folder


def write_table(path: Path, rows: int) -> None:
    """A table written by cryosparc-tools itself."""
    table = Dataset.allocate(rows, [("blob/path", "O"), ("blob/idx", "u4"), ("blob/psize_A", "f4")])
    table["blob/path"] = np.array([f"J2/extract/{row}.mrc" for row in range(rows)], dtype=object)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.save(path)


HARDWARE = {
    "platform_node": "secret-host", "platform_release": "6.1.0", "platform_architecture": "x86_64",
    "cpu_model": "AMD EPYC 7543", "physical_cores": 32, "max_cpu_freq": 3700.0, "total_memory": "503.55GB",
    "driver_version": "12.9", "gpu_info": [{"id": 0, "name": "NVIDIA A100", "mem": 42949672960}],
}  # fmt: skip


def project_5(root: Path) -> Path:
    """Five jobs of version 5: import, motion, picking killed, refinement with a resolution, one never queued."""
    project = root / "CS-t20s"
    write_job(project, job_5("J1", "import_movies", params={"psize_A": 0.6575, "license_id": "do-not-keep"}))
    motion = job_5(
        "J2", "patch_motion_correction_multi", inputs={"movies": linked("J1", "imported_movies", "exposure")},
        outputs={"micrographs": output("exposure", 4, "J2/J2_micrographs.cs")}, instance_information=HARDWARE,
        completed_at="2026-03-01T10:00:30Z",
    )  # fmt: skip
    write_job(project, motion)
    write_table(project / "J2" / "J2_micrographs.cs", 4)
    killed = job_5("J10", "blob_picker_gpu", inputs={"micrographs": linked("J2", "micrographs", "exposure")})
    write_job(project, killed | {"status": "killed", "completed_at": None, "killed_at": "2026-03-01T10:05:00Z"})
    refined = job_5(
        "J9", "nonuniform_refine_new", params={"refine_symmetry": "D7"},
        inputs={"particles": linked("J2", "micrographs")},
        outputs={
            "particles": output("particle", 7, "J9/J9_005_particles.cs"),
            "volume": output("volume", 1, fsc_info_best={"radwn_final_A": 2.86}),
        },
    )  # fmt: skip
    write_job(project, refined | {"started_at": None, "completed_at": None})
    write_job(project, job_5("J11", "local_resolution") | {"status": "building", "started_at": None})
    return project


def job_4(uid: str, kind: str, **changes: Any) -> dict[str, Any]:
    """``job.json`` of version 4 and before, with the fields public tools read."""
    return {
        "uid": uid, "job_type": kind, "type": kind, "project_uid": "P9", "status": "completed", "version": "v4.4.1",
        "params_spec": {}, "input_slot_groups": [], "output_result_groups": [], "output_results": [],
        "started_at": "2024-11-04T20:29:09.5", "completed_at": "2024-11-04T21:29:09.5", **changes,
    }  # fmt: skip


def bson(document: dict[str, Any]) -> bytes:
    """A document in BSON, by bsonspec.org: texts, doubles and times."""
    body = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, str):
            text = value.encode() + b"\0"
            body += b"\x02" + name + struct.pack("<i", len(text)) + text
        elif isinstance(value, int):
            body += b"\x09" + name + struct.pack("<q", value)
        elif isinstance(value, float):
            body += b"\x01" + name + struct.pack("<d", value)
        elif isinstance(value, dict):
            body += b"\x03" + name + bson(value)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def events(uid: str, start_ms: int, seconds: list[float], megabytes: list[float]) -> bytes:
    """An event log of text events, the last one an error."""
    kinds = ["text"] * (len(seconds) - 1) + ["error"]
    return b"".join(
        bson({
            "project_uid": "P1", "job_uid": uid, "type": kind, "created_at": start_ms + round(1000 * after),
            "cpumem_mb": memory, "text": f"{kind} at {after}", "meta": {"a": 1.0},
        })
        for kind, after, memory in zip(kinds, seconds, megabytes, strict=True)
    )  # fmt: skip
