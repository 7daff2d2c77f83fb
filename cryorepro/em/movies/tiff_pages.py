"""TIFF directories, checked before any pixel is decoded: where the bytes lie, and whether they are all there.

tifffile parses the directories. A strip that reaches beyond the end of the file, or a picture larger than its
compressed bytes can hold, is refused here, since decoders take memory for what the directory claims.
"""

from __future__ import annotations

import logging
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
# Width, length, compression, photometric, samples, rows per strip, planes, predictor, tile sides, sample format; and
# bits, offsets and byte counts of strips and tiles.
_SINGLE_TAGS = (256, 257, 259, 262, 277, 278, 284, 317, 322, 323)
_LISTED_TAGS = (258, 273, 279, 324, 325, 339)
_WHOLE_NUMBERS = (1, 3, 4, 13, 16, 18)


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
        directories = _count_directories(path, file)
        with (
            explained(path, "the TIFF directories cannot be read; the file may be truncated"),
            _complaints_refused(path),
        ):
            pages = [page.aspage() for page in file.pages]
        for number, page in enumerate(pages, start=1):
            _check_tags(path, page, number)
        if len(pages) != directories:
            raise InputError(f"{path}: damaged: {len(pages)} of {directories} TIFF directories can be read.")
    except InputError:
        file.close()
        raise
    return file, pages


class _Complaints(logging.Handler):
    """Keeps the first error that tifffile logs instead of raising it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.first: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.first = self.first or record.getMessage()


@contextmanager
def _complaints_refused(path: Path) -> Iterator[None]:
    """What tifffile would only log, and mend by a guess, is damage."""
    logger, complaints = logging.getLogger("tifffile"), _Complaints()
    passed_on, level = logger.propagate, logger.level
    logger.addHandler(complaints)
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.removeHandler(complaints)
        logger.propagate = passed_on
        logger.setLevel(level)
    if complaints.first:
        raise InputError(f"{path}: damaged TIFF directories ({complaints.first.splitlines()[0]}).")


def _check_tags(path: Path, page: TiffPage, number: int) -> None:
    """The tags that say how pixels are stored must be whole numbers; tifffile takes whatever type they are given."""
    for code in _SINGLE_TAGS + _LISTED_TAGS:
        tag = page.tags.get(code)
        if tag is None:
            continue
        if tag.dtype not in _WHOLE_NUMBERS or (code in _SINGLE_TAGS and tag.count != 1):
            raise InputError(f"{path}: damaged: tag {code} of picture {number} is not a whole number.")


def _count_directories(path: Path, file: TiffFile) -> int:
    """Directories in the file's chain, which must end: tifffile stops quietly where it breaks, and follows rings."""
    tiff = file.tiff
    seen: set[int] = set()
    pointer = 8 if tiff.offsetsize == 8 else 4  # of the first directory, in the file's header
    while True:
        offset = _unpacked(path, file, pointer, tiff.offsetformat, len(seen))
        if offset == 0:
            break
        if offset in seen or len(seen) >= MAX_FRAMES:
            raise InputError(
                f"{path}: damaged: the TIFF directories go round in a ring, or are more than {MAX_FRAMES}."
            )
        seen.add(offset)
        tags = _unpacked(path, file, offset, tiff.tagnoformat, len(seen))
        pointer = offset + tiff.tagnosize + tags * tiff.tagsize
    if not seen:
        raise InputError(f"{path}: the TIFF file holds no picture.")
    return len(seen)


def _unpacked(path: Path, file: TiffFile, offset: int, number_format: str, directory: int) -> int:
    count = struct.calcsize(number_format)
    if offset + count > file.filehandle.size:
        raise InputError(f"{path}: truncated: TIFF directory {directory} lies beyond the end of the file.")
    file.filehandle.seek(offset)
    return int(struct.unpack(number_format, file.filehandle.read(count))[0])


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
    wanted = math.prod(page.shape) * page.bitspersample // 8
    expansion = _EXPANSION.get(page.compression, 1)
    if wanted > _SMALL_PICTURE_BYTES and wanted > expansion * sum(counts):
        raise InputError(
            f"{path}: picture {number} claims {wanted} bytes, more than its {sum(counts)} stored bytes can hold."
        )
