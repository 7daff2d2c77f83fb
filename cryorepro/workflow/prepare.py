"""Makes one tier of a dataset available, in a process of its own.

    python -m cryorepro.workflow.prepare JOB.json

Prepared tiers live in the store, named by everything that decides their bytes, and are shared by runs. Two runs
may ask at once: the second waits. A tier counts as there only when its ``prepared.json`` is, which is written
last; what an interrupted preparation left is thrown away by the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro.plugins.catalogue import Registered
from cryorepro.plugins.implementation import guarded, instantiate
from cryorepro.plugins.interfaces import DatasetSource, RemoteDatasetSource
from cryorepro.plugins.loader import load_catalogue
from cryorepro.plugins.types import Dataset
from cryorepro.workflow.files import describe, read_json, sha256_of, write_json

MANIFEST = "prepared.json"


def main(job_file: Path) -> int:
    """Prepare as ``job_file`` says; the result, or the sentence that explains its absence, goes to its ``result``."""
    job = read_json(job_file)
    try:
        content = prepare(job["dataset"], DataRequest.model_validate(job["request"]))
    except InputError as error:
        write_json(Path(job["result"]), {"ok": False, "error": str(error)})
        print(error, file=sys.stderr)
        return 2
    write_json(Path(job["result"]), {"ok": True, **content})
    return 0


def request_key(dataset: str, version: str, request: DataRequest) -> str:
    """Names a prepared tier by what decides its bytes."""
    parts = [dataset, version, request.tier, request.seed, str(request.local_path), request.parameters]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prepare(name: str, wanted: DataRequest) -> dict[str, Any]:
    """The tier's :class:`PreparedData`, the truth's paths and the hashes of all files, as JSON.

    ``wanted`` names the store's data and truth directories; the tier gets one of its own below each.

    Raises:
        InputError: the dataset refuses, or a cached file is not what was prepared.
    """
    registered = load_catalogue().get(Dataset, name)
    key = request_key(name, registered.version, wanted)
    folder = wanted.directory / name / f"{wanted.tier}-{key}"
    truth = wanted.truth_directory / name / folder.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / MANIFEST).exists():
            for leftover in (folder, truth):
                shutil.rmtree(leftover, ignore_errors=True)
                leftover.mkdir(parents=True)
            request = wanted.model_copy(update={"directory": folder, "truth_directory": truth})
            source = instantiate(registered)
            with guarded(registered, f"preparing tier '{wanted.tier}'"):
                prepared = _prepare(source, registered, request)
                truth_files = source.truth(request) if prepared.has_truth else {}
            write_json(folder / MANIFEST, _manifest(prepared, dict(truth_files)))
        manifest: dict[str, Any] = read_json(folder / MANIFEST)
    _check_unchanged(manifest, folder)
    return manifest


def _prepare(source: DatasetSource, registered: Registered[Dataset], request: DataRequest) -> PreparedData:
    """From what is at hand; from the archive where the dataset can and no local copy was given."""
    if request.tier == "twin" or request.local_path is not None or not isinstance(source, RemoteDatasetSource):
        return source.prepare(request)
    from cryorepro.workflow.fetch.open import open_archive

    with open_archive(registered.descriptor.info) as archive:
        return source.prepare_remote(request, archive)


def _manifest(prepared: PreparedData, truth: dict[str, Path]) -> dict[str, Any]:
    for role, path in {**prepared.files, **truth}.items():
        if not path.is_file():
            raise InputError(f"dataset file '{role}' is missing: {path}")
    return {
        "prepared": prepared.model_dump(mode="json"),
        "files": [describe(role, path) for role, path in sorted(prepared.files.items())],
        "truth": [describe(role, path) for role, path in sorted(truth.items())],
    }


def _check_unchanged(manifest: dict[str, Any], folder: Path) -> None:
    for entry in [*manifest["files"], *manifest["truth"]]:
        path = Path(entry["path"])
        if not path.is_file():
            raise InputError(f"{path}: this prepared file has disappeared; delete {folder} to prepare it again")
        if path.stat().st_size != entry["size_bytes"] or sha256_of(path) != entry["sha256"]:
            raise InputError(f"{path}: changed since it was prepared; delete {folder} to prepare it again")


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
