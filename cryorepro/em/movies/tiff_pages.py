"""TIFF directories, checked before any pixel is decoded: where the bytes lie, and whether they are all there.

tifffile parses the directories. A strip that reaches beyond the end of the file, or a picture larger than its
compressed bytes can hold, is refused here, since decoders take memory for what the directory claims.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tifffile import TiffFile, TiffFileError, TiffPage

from cryorepro.em.errors import InputError
from cryorepro.em.movies.movie import MAX_FRAMES, check_claim

# What damaged directories make tifffile raise, besides its own error.
DAMAGE = (TiffFileError, ValueError, struct.error, KeyError, IndexError, TypeError, OverflowError, AttributeError,
          RuntimeError, AssertionError, ZeroDivisionError, OSError, MemoryError)  # fmt: skip
EER_COMPRESSIONS = (65000, 65001, 65002)
# Most bytes that one compressed byte can stand for. Deflate: 258 bytes in 2 bits (RFC 1951). LZW: codes of 12 bits
# (9 at least), strings no longer than the table of 4096; a strip of one value comes near that.
_EXPANSION = {1: 1, 8: 1032, 32946: 1032, 5: 4096, 50000: 1 << 20}
_SMALL_PICTURE_BYTES = 1 << 20


@contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Turn what a library raises on damaged bytes into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: {what} ({reason}).") from error


def open_pages(path: Path) -> tuple[TiffFile, list[TiffPage]]:
    """Open a TIFF file and parse all its directories.

    Raises:
        InputError: not a TIFF file, truncated, or with directories that cannot be parsed.
    """
    with explained(path, "not a readable TIFF file"):
        file = TiffFile(path)
    try:
        with explained(path, "the TIFF directories cannot be read; the file may be truncated"):
            pages = _all_pages(path, file)
    except InputError:
        file.close()
        raise
    return file, pages


def _all_pages(path: Path, file: TiffFile) -> list[TiffPage]:
    pages: list[TiffPage] = []
    for page in file.pages:
        if len(pages) >= MAX_FRAMES:
            raise InputError(f"{path}: more than {MAX_FRAMES} TIFF directories.")
        pages.append(page.aspage())
    if not pages:
        raise InputError(f"{path}: the TIFF file holds no picture.")
    _check_chain(path, file)
    return pages


def _check_chain(path: Path, file: TiffFile) -> None:
    """The last directory must say that it is the last; tifffile ends quietly where a chain is broken."""
    tiff, handle = file.tiff, file.filehandle
    last = file.pages[len(file.pages) - 1].offset
    handle.seek(last)
    count = struct.unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))[0]
    handle.seek(last + tiff.tagnosize + count * tiff.tagsize)
    following = handle.read(tiff.offsetsize)
    if len(following) != tiff.offsetsize or struct.unpack(tiff.offsetformat, following)[0] != 0:
        raise InputError(f"{path}: truncated: directory {len(file.pages)} points to another that is not there.")


def check_page(path: Path, page: TiffPage, number: int, size: int) -> None:
    """Check one directory against the file's size; ``number`` counts from 1.

    Raises:
        InputError: bytes of the picture are missing, or it claims to be larger than they can hold.
    """
    check_claim(path, 1, tuple(page.shape))
    counts, offsets = page.databytecounts, page.dataoffsets
    if not counts or len(counts) != len(offsets) or min(counts) <= 0:
        raise InputError(f"{path}: picture {number} has no pixel data.")
    missing = [offset + count for offset, count in zip(offsets, counts, strict=True) if offset + count > size]
    if missing:
        raise InputError(
            f"{path}: truncated: picture {number} reaches to byte {max(missing)}, but the file has {size} bytes."
        )
    if page.compression in EER_COMPRESSIONS:
        return
    wanted = math.prod(page.shape) * max(1, page.bitspersample // 8)
    expansion = _EXPANSION.get(page.compression, 1)
    if wanted > _SMALL_PICTURE_BYTES and wanted > expansion * sum(counts):
        raise InputError(
            f"{path}: picture {number} claims {wanted} bytes, more than its {sum(counts)} stored bytes can hold."
        )
