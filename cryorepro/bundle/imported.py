"""Runs of others, kept apart from one's own: ``imported/RUN`` in the store, with a note of where they came from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from cryorepro.bundle.layout import BUNDLE, CLAIMS, DATASET, EVENTS, ORIGINAL, SEAL, SPEC
from cryorepro.bundle.verify import Report
from cryorepro.bundle.zipread import Archive
from cryorepro.compare.reproduce import verdict_of
from cryorepro.em.errors import InputError
from cryorepro.store.event import utc_now
from cryorepro.store.home import Home
from cryorepro.workflow.files import read_json, write_json
from cryorepro.workflow.record import run_record

FOLDER = "imported"
PREFIX = "imported/"
ORIGIN = "origin.json"
_KEPT = {
    EVENTS: "events.jsonl", SEAL: "seal.json", ORIGINAL: "original.json", SPEC: "spec.yaml", CLAIMS: "claims.json",
    DATASET: "dataset.json", BUNDLE: "bundle.json",
}  # fmt: skip
_UID = re.compile(r"\d{8}T\d{9}-[a-z0-9]{6}")


def import_bundle(home: Home, report: Report) -> Path:
    """Keep a verified bundle's run; returns its directory. Outputs lie where the run had them.

    Raises:
        InputError: verification found a problem, or the run was imported already.
        StoreError: the store cannot be written.
    """
    bundle = report.bundle
    if bundle is None or not report.holds:
        first = next(finding.text for finding in report.findings if finding.kind == "problem")
        raise InputError(f"not imported, because it does not hold: {first}")
    if not _UID.fullmatch(bundle.facts.run):
        raise InputError(f"{bundle.path}: '{bundle.facts.run[:60]}' is not how a run is called")
    home.ensure()
    target = home.root / FOLDER / bundle.facts.run
    draft = target.with_name(f".{target.name}.part")
    if target.exists():
        raise InputError(
            f"run {target.name} was imported already ({read_json(target / ORIGIN)['bundle_sha256'][:16]} …)"
        )
    files = _KEPT | {row.member: _inside(row.run_path) for row in bundle.facts.info.artifacts}
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _unpack(bundle.path, files, draft)
    except OSError as error:  # two outputs that cannot both lie where they say, or a full disk
        shutil.rmtree(draft, ignore_errors=True)
        raise InputError(f"{bundle.path}: cannot be kept ({error.strerror})") from error
    write_json(draft / ORIGIN, {
        "origin": "bundle",
        "bundle_sha256": bundle.sha256,
        "authors": [author.model_dump(mode="json") for author in bundle.facts.info.authors],
        "imported": utc_now(),
    })  # fmt: skip
    draft.rename(target)
    return target


def _unpack(path: Path, files: dict[str, str], directory: Path) -> None:
    with Archive.open(path) as archive:
        for member, name in files.items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                stream.writelines(archive.blocks(member))


def _inside(run_path: str) -> str:
    """A path below the run's directory.  Raises InputError when it leads elsewhere."""
    parts = run_path.split("/")
    if not run_path or run_path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in run_path:
        raise InputError(f"'{run_path[:80]}' leads out of the run's directory")
    if parts[0] != "stages":
        raise InputError(f"'{run_path[:80]}' is not the output of a stage")
    return run_path


def imported_record(home: Home, name: str) -> dict[str, Any]:
    """The record of an imported run called ``imported/RUN`` (or the beginning of it), with its ``origin``.

    Raises:
        InputError: no run or several are called so.
    """
    wanted = name.removeprefix(PREFIX)
    folder = home.root / FOLDER
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    found = [uid for uid in names if wanted and uid.startswith(wanted)]
    if len(found) != 1:
        raise InputError(f"{len(found)} imported runs are called '{wanted}' in {folder}")
    directory = folder / found[0]
    record = run_record(directory)
    return {**record, "verdict": verdict_of(directory, record), "origin": read_json(directory / ORIGIN)}
