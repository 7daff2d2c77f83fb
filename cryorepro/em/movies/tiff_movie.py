"""TIFF movies: one picture per frame, uncompressed, LZW, deflate or zstd; 8, 16 or 32-bit integers and floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffPage

from cryorepro.em.errors import InputError
from cryorepro.em.movies.movie import Movie, Pixels
from cryorepro.em.movies.tiff_pages import check_page, explained

_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 50000: "zstd"}
_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")


class TiffMovie(Movie):
    """A movie of one TIFF picture per frame."""

    kind = "tiff"

    def __init__(self, path: Path, file: TiffFile, pages: list[TiffPage]) -> None:
        """Check every directory; decode nothing.

        Raises:
            InputError: pictures differ in shape or type, are not grey, are compressed in another way, or truncated.
        """
        self._file, self._pages = file, pages
        first = pages[0]
        size = path.stat().st_size
        for number, page in enumerate(pages, start=1):
            _check_kind(path, page, number)
            check_page(path, page, number, size)
            if page.shape != first.shape or page.dtype != first.dtype:
                raise InputError(
                    f"{path}: picture {number} is {page.shape} of {page.dtype}, "
                    f"but the first is {first.shape} of {first.dtype}."
                )
        rows, columns = first.shape
        super().__init__(path, len(pages), (rows, columns), np.dtype(first.dtype))

    def _read_into(self, index: int, out: Pixels) -> None:
        with explained(self.path, f"frame {index + 1} cannot be decoded; the file may be damaged"):
            out[...] = self._pages[index].asarray(maxworkers=1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _check_kind(path: Path, page: TiffPage, number: int) -> None:
    if len(page.shape) != 2 or page.samplesperpixel != 1:
        raise InputError(f"{path}: picture {number} has shape {page.shape}; a frame is one grey picture.")
    if page.compression not in _COMPRESSIONS:
        raise InputError(
            f"{path}: picture {number} has TIFF compression {int(page.compression)}; "
            f"{', '.join(sorted(set(_COMPRESSIONS.values())))} can be read."
        )
    if page.dtype is None or page.dtype.name not in _TYPES:
        raise InputError(f"{path}: picture {number} has pixels of an unsupported type ({page.bitspersample} bits).")
