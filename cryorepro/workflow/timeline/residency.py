"""How much of some files is in the page cache, by mincore(2), and how to drop it there.

The kernel tells mincore's truth only to those who own a file or may write to it; for others every page looks
resident (since Linux 5.2). Such files are not counted, and where none can be counted the answer is None.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_PAGE = os.sysconf("SC_PAGE_SIZE")
_WINDOW = 256 * _PAGE
FILES = 64
WINDOWS = 16
"""At most so many files, and windows of 1 MiB in each, are looked at for an estimate: about 10 ms."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_PROT_READ, _MAP_SHARED = 1, 1
_FAILED = ctypes.c_void_p(-1).value


def estimate(paths: Sequence[Path]) -> float | None:
    """Fraction of ``paths`` that is in the page cache, from evenly spread windows, weighted by file size."""
    sizes = [(path, path.stat().st_size) for path in spread(list(paths), FILES) if _can_tell(path)]
    total = sum(size for _, size in sizes)
    if not total:
        return None
    return sum(_of_file(path, size, WINDOWS) * size for path, size in sizes) / total


def exact(path: Path) -> float | None:
    """Fraction of the pages of ``path`` that is in the page cache; None where the kernel does not tell."""
    if not _can_tell(path):
        return None
    size = path.stat().st_size
    return _of_file(path, size, None) if size else 0.0


def drop(paths: Sequence[Path]) -> None:
    """Ask the kernel to forget the pages of ``paths``: written back first, as dirty pages stay.

    It may decline (pages mapped or locked by others): look afterwards with :func:`exact` or :func:`estimate`.

    Raises:
        OSError: a file cannot be opened.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def spread(items: list[T], count: int) -> list[T]:
    """At most ``count`` of ``items``, evenly spread, the first and last among them."""
    if len(items) <= count:
        return items
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]


def _can_tell(path: Path) -> bool:
    try:
        return path.is_file() and (path.stat().st_uid == os.geteuid() or os.access(path, os.W_OK))
    except OSError:
        return False


def _of_file(path: Path, size: int, windows: int | None) -> float:
    starts = list(range(0, size, _WINDOW))
    chosen = starts if windows is None else spread(starts, windows)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages = [_resident(descriptor, start, min(_WINDOW, size - start)) for start in chosen]
    finally:
        os.close(descriptor)
    counted = sum(count for _, count in pages)
    return sum(resident for resident, _ in pages) / counted if counted else 0.0


def _resident(descriptor: int, start: int, length: int) -> tuple[int, int]:
    """Resident pages and pages of a window that begins on a page."""
    count = -(-length // _PAGE)
    address = _libc.mmap(None, length, _PROT_READ, _MAP_SHARED, descriptor, start)
    if address == _FAILED:
        return 0, 0
    try:
        vector = ctypes.create_string_buffer(count)
        if _libc.mincore(address, length, vector) != 0:
            return 0, 0
        return sum(byte & 1 for byte in vector.raw[:count]), count
    finally:
        _libc.munmap(address, length)
