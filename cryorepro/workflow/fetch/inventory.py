"""What the cache holds, without reading it through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.workflow.fetch.cache import Cache
from cryorepro.workflow.fetch.verify import datasets_in


@dataclass(frozen=True, slots=True)
class Holding:
    """One dataset in the cache."""

    dataset: str
    files: int
    size_bytes: int
    partial_files: int
    partial_bytes: int
    last_fetched_at: str | None
    path: str


def inventory(cache_root: Path) -> list[Holding]:
    """Every dataset in the cache.

    Raises:
        FetchError: the records of one are damaged.
    """
    return [_holding(Cache(cache_root / name), name) for name in datasets_in(cache_root)]


def _holding(cache: Cache, name: str) -> Holding:
    there = [record for path, record in cache.records().items() if cache.path(path).is_file()]
    partial = [path.stat().st_blocks * 512 for path in cache.root.rglob(".*.part")]
    last = max((record.fetched_at for record in there), default=None)
    size = sum(record.size_bytes for record in there)
    return Holding(name, len(there), size, len(partial), sum(partial), last, str(cache.root))


def cached_path(cache_root: Path, dataset: str, file: str | None) -> Path:
    """The folder of a dataset, or one of its files. Raises InputError when it is not there."""
    if dataset not in datasets_in(cache_root):
        raise InputError(f"nothing of '{dataset}' is cached in {cache_root}; try: cryorepro fetch {dataset} --dry-run")
    cache = Cache(cache_root / dataset)
    if file is None:
        return cache.root
    if cache.present(file) is None:
        raise InputError(f"{dataset}: {file} is not in the cache")
    return cache.path(file)
