"""A single picture from MRC, TIFF, DM3 or DM4: gain references and defect masks."""

from __future__ import annotations

from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.movies.gatan import MAGICS, read_gatan
from cryorepro.em.movies.movie import Pixels
from cryorepro.em.movies.opening import first_bytes, open_movie


def read_picture(path: Path, what: str) -> Pixels:
    """The only picture of a file as ``[rows, columns]`` in the type it is stored in.

    Raises:
        InputError: not such a file, damaged, or of more than one picture; ``what`` names its purpose.
    """
    if first_bytes(path, 4) in MAGICS:
        return read_gatan(path, what)
    with open_movie(path) as movie:
        if movie.frames != 1:
            raise InputError(f"{path}: a {what} is one picture, but the file holds {movie.frames}.")
        return movie.read_frame(0)
