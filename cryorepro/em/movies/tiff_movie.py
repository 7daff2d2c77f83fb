"""TIFF movies: one picture per frame, uncompressed, LZW, deflate or zstd; integers of 4 to 32 bits, and floats.

tifffile parses and libtiff (in imagecodecs) decodes: twice as fast as tifffile's own way on LZW, and an error where
tifffile's decoder of LZW ends the process on damaged bytes.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import imagecodecs
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
        self._file = file
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
        with path.open("rb") as stream:
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def _read_into(self, index: int, out: Pixels) -> None:
        with explained(self.path, f"frame {index + 1} cannot be decoded; the file may be damaged"):
            imagecodecs.tiff_decode(self._bytes, index=index, out=out)

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()
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
