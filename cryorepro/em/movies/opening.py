"""Open a movie of any format; the file's first bytes decide which, not its name."""

from __future__ import annotations

from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import HEADER_BYTES
from cryorepro.em.movies.eer_movie import SUPER_RESOLUTIONS, EerMovie
from cryorepro.em.movies.movie import Movie
from cryorepro.em.movies.mrc_movie import MrcMovie, looks_like_mrc
from cryorepro.em.movies.tiff_movie import TiffMovie
from cryorepro.em.movies.tiff_pages import EER_COMPRESSIONS, open_pages

TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class NotAMovie(InputError):
    """The file is of no kind that movies come in: a stray text file, say."""


def open_movie(path: Path | str, *, eer_fractions: int | None = None, eer_super_resolution: int = 1) -> Movie:
    """Open a TIFF, EER or MRC movie and check it without decoding a pixel.

    Args:
        path: The file.
        eer_fractions: For EER, how many frames to sum the detector frames to; all of them by default.
        eer_super_resolution: For EER, pixels per detector pixel along each side: 1, 2 or 4.

    Raises:
        NotAMovie: the file is neither TIFF, EER nor MRC.
        InputError: the file is missing, empty, of another kind, truncated, lacks a frame, or claims a size that
            it cannot have.
    """
    path = Path(path)
    if eer_super_resolution not in SUPER_RESOLUTIONS:
        raise InputError(f"{path}: EER super-resolution {eer_super_resolution} is not one of 1, 2 and 4.")
    if not _is_tiff(path):
        if not looks_like_mrc(first_bytes(path, HEADER_BYTES)):
            raise NotAMovie(f"{path}: neither a TIFF, an EER nor an MRC file.")
        return MrcMovie(path)
    file, pages = open_pages(path)
    try:
        if any(page.compression in EER_COMPRESSIONS for page in pages[:2]):
            return EerMovie(path, file, pages, fractions=eer_fractions, super_resolution=eer_super_resolution)
        return TiffMovie(path, file, pages)
    except BaseException:
        file.close()
        raise


def _is_tiff(path: Path) -> bool:
    return first_bytes(path, 4) in TIFF_MAGICS


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a file. Raises InputError if it cannot be read or is empty."""
    try:
        with path.open("rb") as stream:
            found = stream.read(count)
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}).") from error
    if not found:
        raise InputError(f"{path}: the file is empty.")
    return found
