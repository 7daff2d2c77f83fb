"""Files of times alone: CryoSPARC's benchmark records (JSON), the benchmark script's timings, and tables (CSV).

A record of the type ``extensive_validation`` and the public benchmark script's output name jobs; other records name
tests, which are read the same way. No published description of a CSV was found: one with a column that names the job
and one that holds seconds is read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.foreign import ForeignOutcome, ForeignRun, ForeignStage
from cryorepro_cryosparc.job_types import kind_of, slug
from cryorepro_cryosparc.machine import probes
from cryorepro_cryosparc.mongo import shown

LARGEST_BYTES = 16 * 1024**2
MOST_TIMES = 2000
DEEPEST = 6
LONGEST_SECONDS = 1e9
NAME_COLUMNS = ("job", "job_type", "stage", "test", "name", "key")
TIME_COLUMNS = ("seconds", "wall_seconds", "time", "total", "runtime", "timing")


def recognises(path: Path) -> bool:
    """Whether a file could hold times."""
    try:
        _rows(path)
    except InputError:
        return False
    return True


def read(path: Path) -> ForeignRun:
    """A run with one stage for each time.

    Raises:
        InputError: it is no file of times, or a time is none.
    """
    rows, version, machine, digest = _rows(path)
    stages: dict[str, ForeignStage] = {}
    for name, seconds in rows:
        label, number = slug(name), 1
        while label in stages:
            number += 1
            label = f"{slug(name)}-{number}"
        stages[label] = ForeignStage(
            name=label, kind=kind_of(name), status="completed", wall_seconds=seconds,
            program={"name": "CryoSPARC", "version": version or "unknown"},
            notes=["only its time is known"],
        )  # fmt: skip
    last = next(reversed(stages))
    return ForeignRun(
        program="cryosparc",
        name=slug(f"cryosparc-{path.stem}"),
        title=f"CryoSPARC: {shown(path.name, 100)}",
        summary=f"{len(stages)} times of CryoSPARC {version or 'of unknown version'}; nothing else is known.",
        source_sha256=digest,
        stages=list(stages.values()),
        outcomes=[ForeignOutcome(name="resolution", metric="half_map_fsc", stage=last, reason="times only: no output")],
        machine=machine,
    )


def _rows(path: Path) -> tuple[list[tuple[str, float]], str, dict[str, dict[str, Any]], str]:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"{path}: larger than the {LARGEST_BYTES:,} bytes a file of times may have")
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a file of times (no text)") from error
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix == ".csv":
        return _checked(path, list(_from_csv(path, text))), "", {}, digest
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a file of times (no JSON)") from error
    parts = document if isinstance(document, list) else [document]
    if not parts or not all(isinstance(part, dict) and isinstance(part.get("timings"), dict) for part in parts):
        raise InputError(f"{path}: not a file of times (no 'timings')")
    rows = [row for part in parts for row in _from_timings(part["timings"], "", 0, path)]
    version = shown(parts[0].get("cryosparc_version") or parts[0].get("version") or "", 60)
    return _checked(path, rows), version, _machine(parts[0]), digest


def _machine(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    information = part.get("instance_information")
    found = probes(information, {}) if isinstance(information, dict) else {}
    name = shown(part.get("gpu_name") or "", 200)
    if name and not found.get("gpu", {}).get("gpus"):
        found["gpu"] = found.get("gpu", {}) | {"gpus": [{"name": name}]}
    return found


def _from_timings(value: dict[str, Any], prefix: str, depth: int, path: Path) -> Iterator[tuple[str, float]]:
    if depth > DEEPEST:
        raise InputError(f"{path}: timings are nested deeper than {DEEPEST} levels")
    if prefix and isinstance(value.get("total"), int | float):
        yield prefix, value["total"]
        return
    for key, item in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, dict):
            yield from _from_timings(item, name, depth + 1, path)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield name, item


def _from_csv(path: Path, text: str) -> Iterator[tuple[str, float]]:
    rows = csv.DictReader(io.StringIO(text))
    fields = {str(field).strip().lower(): field for field in rows.fieldnames or ()}
    name = next((fields[column] for column in NAME_COLUMNS if column in fields), None)
    time = next((fields[column] for column in TIME_COLUMNS if column in fields), None)
    if name is None or time is None:
        raise InputError(f"{path}: not a file of times (no column of {'/'.join(NAME_COLUMNS)} and one of seconds)")
    try:
        for number, row in enumerate(rows, 2):
            try:
                yield str(row[name]), float(row[time])
            except (TypeError, ValueError) as error:
                raise InputError(f"{path}: line {number}: {str(row[time])[:40]!r} is no time in seconds") from error
    except csv.Error as error:
        raise InputError(f"{path}: not a file of times ({error})") from error


def _checked(path: Path, rows: list[tuple[str, float]]) -> list[tuple[str, float]]:
    if not rows or len(rows) > MOST_TIMES:
        raise InputError(f"{path}: {len(rows)} times; one to {MOST_TIMES:,} are read")
    for name, seconds in rows:
        if not 0 <= seconds <= LONGEST_SECONDS:  # also of a NaN, and of whole numbers no float can hold
            raise InputError(f"{path}: {shown(name, 80)}: {str(seconds)[:40]} is no time in seconds")
    return [(name, float(seconds)) for name, seconds in rows]
