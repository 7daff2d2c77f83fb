"""A whole set for others: one bundle for every member, failed ones included, and the set's own record beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryorepro.bundle.strict_json import render_json
from cryorepro.compare.ensemble.record import set_record
from cryorepro.em.errors import InputError
from cryorepro.store.home import Home

RECORD = "set.json"
WriteBundle = Callable[[Path, Path], object]
"""Writes the run in a directory to a path."""


def write_set(home: Home, directory: Path, output: Path, write: WriteBundle) -> int:
    """Write every member's bundle and ``set.json`` into the new folder ``output``; returns how many bundles there are.

    Nothing is left out and nothing is left behind on failure. The record names runs, seeds, ends and the verdict; the
    reason of a failure is in that run's bundle.

    Raises:
        InputError: the set has not ended, ``output`` exists, or a member cannot be exported.
        StoreError: a journal does not hold.
    """
    record = set_record(directory)
    if record["status"] != "completed":
        raise InputError(f"set {record['set']} has not ended; cryorepro resume {record['set']}")
    if output.exists():
        raise InputError(f"{output}: exists already")
    draft = output.with_name(f".{output.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        for member in record["members"]:
            write(home.find_run(member["run"]), draft / _bundle(member))
        (draft / RECORD).write_bytes(render_json(_public(record)))
        draft.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return len(record["members"])


def _public(record: dict[str, Any]) -> dict[str, Any]:
    settings = record["settings"]
    kept = ("benchmark", "benchmark_version", "spec_sha256", "tier", "cryorepro_version")
    members = [
        {**{name: member[name] for name in ("position", "runner", "seed", "run", "status")}, "bundle": _bundle(member)}
        for member in record["members"]
    ]
    return {
        "set": record["set"],
        "created": record["created"],
        **{name: settings[name] for name in kept},
        "members": members,
        "verdict": record["verdict"],
    }


def _bundle(member: dict[str, Any]) -> str:
    return f"{member['position']:03d}-seed{member['seed']}-{member['run']}.zip"
