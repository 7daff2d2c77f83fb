"""The jobs of a project's folder, of one job's folder, or of a single ``job.json``; nothing outside it is touched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro_cryosparc.events import NAMES, EventLog, read_events
from cryorepro_cryosparc.job_document import Job, JobOutput, read_job
from cryorepro_cryosparc.mongo import deeper_than

DOCUMENT = "job.json"
LARGEST_DOCUMENT = 64 * 1024**2
DEEPEST_DOCUMENT = 60
MOST_JOBS = 5000
MOST_FILES = 500
DEEPEST = 4
_KEPT = (".cs", ".mrc")
_MOST_FOLDERS = 100_000


@dataclass(frozen=True)
class FoundJob:
    """A job, its event log, and its tables by output; ``missing`` are those not there.

    ``document`` is the file it was read from, ``root`` the folder nothing may lead out of.
    """

    job: Job
    document: Path
    root: Path
    log: EventLog | None
    tables: tuple[tuple[str, Path], ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Export:
    """Everything found, jobs in the order in which they can have run, and a hash over what was read."""

    jobs: tuple[FoundJob, ...]
    sha256: str


def job_files(source: Path) -> list[Path]:
    """The job documents below ``source``, by name; links are not followed.

    Raises:
        InputError: there are more than a project can have.
    """
    if source.is_file():
        return [source] if source.name == DOCUMENT else []
    return sorted(_walk(source))


def _walk(source: Path) -> Iterator[Path]:
    found = 0
    for seen, (folder, folders, files) in enumerate(os.walk(source, followlinks=False), 1):
        if seen > _MOST_FOLDERS:
            raise InputError(f"{source}: more than {_MOST_FOLDERS:,} folders; name the project's own folder")
        here = Path(folder)
        if len(here.relative_to(source).parts) >= DEEPEST:
            folders.clear()
        if DOCUMENT in files and not (here / DOCUMENT).is_symlink():
            found += 1
            if found > MOST_JOBS:
                raise InputError(f"{source}: more than {MOST_JOBS:,} jobs")
            folders.clear()  # what is inside a job is its own
            yield here / DOCUMENT


def read_export(source: Path) -> Export:
    """Read every job below ``source``.

    Raises:
        InputError: a document or a log is malformed or too large, a job stands twice, jobs feed each other in a
            circle, or a path leads out of ``source``.
    """
    paths = job_files(source)
    if not paths:
        raise InputError(f"{source}: holds no {DOCUMENT}")
    digest = hashlib.sha256()
    jobs: dict[str, FoundJob] = {}
    for path in paths:
        content = _content(path)
        digest.update(hashlib.sha256(content).digest())
        found = _find(source, path, read_job(_parse(path, content), str(path)))
        if found.job.uid in jobs:
            raise InputError(f"{source}: job {found.job.uid} stands twice; import one project at a time")
        jobs[found.job.uid] = found
    return Export(tuple(_in_order(source, jobs)), digest.hexdigest())


def _content(path: Path) -> bytes:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_DOCUMENT:
            raise InputError(f"{path}: no file of at most {LARGEST_DOCUMENT:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _parse(path: Path, content: bytes) -> Any:
    try:
        document = json.loads(content)
        if deeper_than(document, DEEPEST_DOCUMENT):
            raise InputError(f"{path}: nested deeper than {DEEPEST_DOCUMENT} levels")
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not JSON") from error
    return document


def _find(source: Path, path: Path, job: Job) -> FoundJob:
    folder = path.parent
    root = folder.parent if folder != source and source.is_dir() else folder
    tables: dict[Path, str] = {}
    missing: list[str] = []
    for output in job.outputs:
        for name in output.files:
            table = inside(root, path, name)
            if table is None:
                missing.append(Path(name).name)
            else:
                tables.setdefault(table, output.name)
    for table in sorted(folder.glob("*.cs")):
        if table.is_file() and not table.is_symlink():
            tables.setdefault(table.resolve(), _output_of(job.outputs, table))
    if len(tables) > MOST_FILES:
        raise InputError(f"{path}: more than {MOST_FILES} tables")
    found = tuple((role, table) for table, role in tables.items())
    return FoundJob(job, path, root, _log(folder, job.uid), found, tuple(missing))


def _output_of(outputs: tuple[JobOutput, ...], table: Path) -> str:
    """The output whose name stands in a table's name; the longest, if several do."""
    fits = [output.name for output in outputs if output.name in table.stem]
    return max(fits, key=len, default="table")


def inside(root: Path, document: Path, name: str) -> Path | None:
    """A table or map that a document names, relative to the project or the job; None when it is not there.

    Raises:
        InputError: it is absolute or leads out of the project.
    """
    relative, folder = Path(name.removeprefix(">")), document.parent
    if "\0" in name or relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"{document}: the file {name[:80]!r} lies outside the project")
    own = Path(*relative.parts[1:]) if relative.parts[:1] == (folder.name,) else relative
    for file in (root / relative, folder / relative, folder / own):
        if file.suffix in _KEPT and file.is_file() and not file.is_symlink():
            if not file.resolve().is_relative_to(root.resolve()):
                raise InputError(f"{document}: the file {name[:80]!r} lies outside the project")
            return file.resolve()
    return None


def _log(folder: Path, uid: str) -> EventLog | None:
    for name in NAMES:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            logs = read_events(path)
            return logs.get(uid) or logs.get("")
    return None


def _in_order(source: Path, jobs: dict[str, FoundJob]) -> list[FoundJob]:
    """Parents before children, else by number.

    Raises:
        InputError: jobs feed each other in a circle.
    """
    waiting = {uid: {parent for _, parent, _ in found.job.inputs if parent in jobs} for uid, found in jobs.items()}
    order: list[FoundJob] = []
    while waiting:
        ready = [uid for uid, parents in waiting.items() if not parents]
        if not ready:
            raise InputError(f"{source}: jobs {', '.join(sorted(waiting)[:4])} feed each other in a circle")
        first = min(ready, key=lambda uid: int(uid[1:]))
        del waiting[first]
        for parents in waiting.values():
            parents.discard(first)
        order.append(jobs[first])
    return order
