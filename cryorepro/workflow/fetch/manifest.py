"""Size and sha256 of files: as published with cryorepro, and as recorded when a file was first fetched."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.shipped import shipped
from cryorepro.model.strict_yaml import load_record
from cryorepro.store.files import write_all
from cryorepro.workflow.fetch.errors import FetchError

_BLOCK = 4 << 20
_FIELDS = {"path", "size_bytes", "sha256", "source", "fetched_at"}


class KnownFile(Record):
    """A file whose bytes are known before it is fetched."""

    path: str = Field(min_length=1, description="path in the deposit, or only the file's name")
    size_bytes: int = Field(ge=0)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class KnownManifest(Record):
    """What ``registry/manifests/DATASET.yaml`` holds."""

    dataset: str
    source: str
    files: list[KnownFile]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file in the cache: path below the dataset's folder, bytes, where from and when."""

    path: str
    size_bytes: int
    sha256: str
    source: str
    fetched_at: str


def known_files(dataset: str, directory: Path | None = None) -> dict[str, KnownFile]:
    """Published sizes and hashes of a dataset's files, by path or name; none where nothing is published.

    Raises:
        InputError: the manifest is malformed.
    """
    path = (directory or shipped("registry") / "manifests") / f"{dataset}.yaml"
    if not path.is_file():
        return {}
    return {file.path: file for file in load_record(path, KnownManifest).files}


def expected(known: dict[str, KnownFile], path: str) -> KnownFile | None:
    """What is known of the file at `path` of the deposit."""
    return known.get(path) or known.get(PurePosixPath(path).name)


class RecordReader:
    """Reads a file of records that other processes append to; what was read before is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, FileRecord] = {}
        self._file, self._read, self._lines = 0, 0, 0

    def read(self) -> dict[str, FileRecord]:
        """Records by path; of several of one path the last counts. A torn last line is passed over.

        Raises:
            FetchError: a line is damaged.
        """
        try:
            with self._path.open("rb") as stream:
                state = os.fstat(stream.fileno())
                if state.st_ino != self._file or state.st_size < self._read:
                    self._records, self._file, self._read, self._lines = {}, state.st_ino, 0, 0
                stream.seek(self._read)
                tail = stream.read()
        except FileNotFoundError:
            return {}
        whole = tail[: tail.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._lines += 1
            record = _record(line, f"{self._path}:{self._lines}")
            self._records[record.path] = record
        self._read += len(whole)
        return self._records


def _record(line: bytes, where: str) -> FileRecord:
    try:
        content = json.loads(line)
        if set(content) != _FIELDS or not isinstance(content["path"], str):
            raise ValueError("unknown fields")
        return FileRecord(**content)
    except (ValueError, TypeError) as error:
        raise FetchError(f"{where}: damaged record of a cached file; delete the line") from error


def append_record(path: Path, record: FileRecord) -> None:
    """Add one record, durably. The caller holds the dataset's lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        if torn:  # a crash cut the last line short: what is left of it names nothing
            os.ftruncate(descriptor, os.pread(descriptor, size, 0).rfind(b"\n") + 1)
        write_all(descriptor, json.dumps(asdict(record), sort_keys=True).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def safe_path(path: str) -> str:
    """A path of an archive, checked: relative, without ``..``, hidden parts or control characters.

    Raises:
        InputError: it is not.
    """
    parts = PurePosixPath(path).parts
    bad = not parts or path.startswith("/") or any(part in ("..", ".") or part.startswith(".") for part in parts)
    if bad or not path.isprintable() or "\\" in path or len(path) > 1000:
        raise InputError(f"{path[:80]!r} is not a path inside an archive entry")
    return str(PurePosixPath(path))
