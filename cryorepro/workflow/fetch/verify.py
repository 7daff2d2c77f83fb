"""Read every cached byte again and hold it against what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryorepro.workflow.fetch.cache import RECORDS, Cache
from cryorepro.workflow.fetch.manifest import sha256_of
from cryorepro.workflow.files import read_json
from cryorepro.workflow.prepare import MANIFEST

State = Literal["ok", "changed", "missing", "unrecorded", "partial"]
BAD: frozenset[State] = frozenset({"changed", "unrecorded"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One file: what it is, and why when something is wrong."""

    dataset: str
    path: str
    state: State
    size_bytes: int
    reason: str = ""


def datasets_in(cache_root: Path) -> list[str]:
    """Datasets that have a folder in the cache."""
    if not cache_root.is_dir():
        return []
    return sorted(entry.name for entry in cache_root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def verify_cache(cache_root: Path, dataset: str, looking: Callable[[str], None] = lambda path: None) -> list[Finding]:
    """Re-read every cached file of one dataset.

    Raises:
        FetchError: the records themselves are damaged.
    """
    cache = Cache(cache_root / dataset)
    records = cache.records()
    findings = []
    for path, record in sorted(records.items()):
        looking(path)
        reason = _changed(cache.path(path), record.size_bytes, record.sha256)
        findings.append(_finding(dataset, path, record.size_bytes, reason))
    findings += [
        Finding(dataset, path, state, size, reason) for path, state, size, reason in _others(cache, frozenset(records))
    ]
    return findings


def verify_prepared(data_root: Path, looking: Callable[[str], None] = lambda path: None) -> list[Finding]:
    """Re-read the files of every prepared tier in the store."""
    findings = []
    for manifest in sorted(data_root.glob(f"*/*/{MANIFEST}")):
        content: dict[str, Any] = read_json(manifest)
        dataset = manifest.parent.parent.name
        for entry in [*content["files"], *content["truth"]]:
            path = Path(entry["path"])
            shown = f"{manifest.parent.name}/{path.name}"
            looking(shown)
            reason = _changed(path, entry["size_bytes"], entry["sha256"])
            findings.append(_finding(dataset, shown, entry["size_bytes"], reason))
    return findings


def _changed(path: Path, size_bytes: int, sha256: str) -> str | None:
    """Why a file is not what was recorded; empty when it is, None when it is not there."""
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size != size_bytes:
        return f"{size} bytes, not {size_bytes}"
    found = sha256_of(path)
    return "" if found == sha256 else f"sha256 {found[:12]}…, not {sha256[:12]}…"


def _finding(dataset: str, path: str, size_bytes: int, reason: str | None) -> Finding:
    if reason is None:
        return Finding(dataset, path, "missing", 0, "recorded once, not here now")
    return Finding(dataset, path, "changed" if reason else "ok", size_bytes, reason)


def _others(cache: Cache, recorded: frozenset[str]) -> Iterator[tuple[str, State, int, str]]:
    """Files that no record names: unfinished transfers, and what somebody else put there."""
    for path in sorted(cache.root.rglob("*")):
        relative = path.relative_to(cache.root)
        if not path.is_file() or str(relative) in recorded or relative.parts[0] in (RECORDS, ".locks"):
            continue
        size = path.stat().st_blocks * 512
        if path.name.startswith("."):
            if path.name.endswith(".part"):
                yield str(relative), "partial", size, "an unfinished transfer; fetch again to complete it"
            continue
        yield str(relative), "unrecorded", size, "not put here by cryorepro; nothing vouches for it"
