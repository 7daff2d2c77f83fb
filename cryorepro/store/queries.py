"""What is read back from the index, as plain mappings: the lists and the run that commands and reports show.

JSON columns come back decoded. A run that nothing ended reads ``running`` while a process writes its journal
and ``killed`` after, which no index can know by itself.
"""

from __future__ import annotations

import json
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.store.chain import is_being_written
from cryorepro.store.errors import StoreError
from cryorepro.store.index import Index
from cryorepro.store.schema import TABLES

Record = dict[str, Any]
FILTERS = ("benchmark", "dataset", "tier", "status")

_JSON_COLUMNS = frozenset(part.split(" ")[0] for parts in TABLES.values() for part in parts if "json_valid" in part) | {
    "runners"
}

_DETAIL = {
    "runners": "SELECT stage, runner FROM run_runners WHERE run_uid = ? ORDER BY stage",
    "plugins": "SELECT distribution, version, plugin FROM plugins WHERE run_uid = ? ORDER BY 1, 3",
    "attempts": "SELECT * FROM attempts WHERE run_uid = ? ORDER BY attempt",
    "stages": "SELECT * FROM stages WHERE run_uid = ? ORDER BY position, stage",
    "stage_attempts": "SELECT * FROM stage_attempts WHERE run_uid = ? ORDER BY seq",
    "resources": "SELECT * FROM resources WHERE run_uid = ? ORDER BY stage",
    "data": "SELECT * FROM prepared_data WHERE run_uid = ? ORDER BY seq",
    "errata": "SELECT id, file, evidence, action FROM errata_applied WHERE run_uid = ? ORDER BY position",
    "artifacts": "SELECT * FROM artifacts WHERE run_uid = ? ORDER BY kind, stage, role, path",
    "lineage": "SELECT * FROM lineage_checked WHERE run_uid = ? ORDER BY stage, role, path",
    "outcomes": "SELECT * FROM outcomes_checked WHERE run_uid = ? ORDER BY outcome",
    "outcome_artifacts": "SELECT outcome, sha256 FROM outcome_artifacts WHERE run_uid = ? ORDER BY 1, 2",
    "verdicts": "SELECT * FROM verdicts WHERE run_uid = ? ORDER BY self_check DESC, outcome, claim",
    "fingerprint": "SELECT * FROM fingerprints WHERE run_uid = ? ORDER BY seq, name",
}


def list_runs(index: Index, limit: int | None = None, **filters: str | None) -> list[Record]:
    """Runs, newest first, as rows of ``runs_overview``; ``filters`` are any of ``FILTERS``.

    Raises:
        StoreError: the index cannot be read.
    """
    given = {name: value for name, value in filters.items() if value is not None}
    unknown = sorted(given.keys() - set(FILTERS))
    if unknown:
        raise TypeError(f"list_runs knows no filter {unknown[0]!r}")
    columns = {name: value for name, value in given.items() if name != "status"}
    where = " AND ".join(f"{name} = ?" for name in columns) or "1"
    sql = f"SELECT * FROM runs_overview WHERE {where} ORDER BY run_uid DESC"
    rows = [_live(index, _decoded(row)) for row in index.query(sql, *columns.values())]
    if "status" in given:
        rows = [row for row in rows if row["status"] == given["status"]]
    return rows[:limit]


def run_detail(index: Index, run_uid: str) -> Record:
    """Everything the index holds on one run: its own columns, and one list per entry of the detail.

    ``stages`` each carry their ``resources``, ``attempts``, ``inputs`` and ``outputs``; ``runners`` is a
    mapping; ``outcomes`` each carry ``artifact_sha256s`` and ``bound`` (whether the files they were read from
    are outputs of completed stages of this run); ``fingerprint`` has one record per probe, failures included;
    then ``data``, ``errata``, ``verdicts``, ``attempts`` and ``plugins``.

    Raises:
        InputError: the index has no such run.
        StoreError: the index cannot be read.
    """
    found = index.query("SELECT * FROM runs WHERE run_uid = ?", run_uid)
    if not found:
        raise InputError(f"no run is called {run_uid!r} in {index.home.runs}")
    detail = _live(index, _decoded(found[0]))
    parts = {name: [_decoded(row) for row in index.query(sql, run_uid)] for name, sql in _DETAIL.items()}
    detail["directory"] = str(index.home.runs / run_uid)
    detail["runners"] = {row["stage"]: row["runner"] for row in parts["runners"]}
    detail["stages"] = [_stage(stage, parts) for stage in parts["stages"]]
    detail["outcomes"] = [_outcome(outcome, parts) for outcome in parts["outcomes"]]
    for name in ("plugins", "attempts", "data", "errata", "verdicts", "fingerprint"):
        detail[name] = parts[name]
    return detail


def find_artifacts(index: Index, sha256: str) -> list[Record]:
    """Every place where a file with this content was written or used, over all runs."""
    sql = (
        "SELECT run_uid, stage, role, path, kind AS 'use' FROM artifacts WHERE sha256 = ?1 UNION ALL "
        "SELECT run_uid, stage, role, path, 'input' FROM lineage WHERE sha256 = ?1 ORDER BY 1, 2, 3, 4, 5"
    )
    return index.query(sql, sha256)


def _stage(stage: Record, parts: dict[str, list[Record]]) -> Record:
    name = stage["stage"]
    used = [row for row in parts["resources"] if row["stage"] == name]
    resources = {key: value for key, value in used[0].items() if key not in ("run_uid", "stage")} if used else {}
    return {
        **stage,
        "resources": resources,
        "attempts": [row for row in parts["stage_attempts"] if row["stage"] == name],
        "inputs": [row for row in parts["lineage"] if row["stage"] == name],
        "outputs": [row for row in parts["artifacts"] if row["stage"] == name and row["kind"] == "output"],
    }


def _outcome(outcome: Record, parts: dict[str, list[Record]]) -> Record:
    digests = [row["sha256"] for row in parts["outcome_artifacts"] if row["outcome"] == outcome["outcome"]]
    return {**outcome, "artifact_sha256s": digests}


def _decoded(row: Record) -> Record:
    return {
        name: json.loads(value) if name in _JSON_COLUMNS and isinstance(value, str) else value
        for name, value in row.items()
    }


def _live(index: Index, row: Record) -> Record:
    if row["status"] == "unfinished":
        try:
            alive = is_being_written(index.home.runs / row["run_uid"])
        except StoreError:
            alive = False
        row["status"] = "running" if alive else "killed"
    return row
