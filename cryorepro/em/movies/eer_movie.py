"""EER movies: electron events in a TIFF container, summed to as many fractions as are asked for.

One directory per detector frame; its strip holds, for each event, the number of empty pixels before it and its
place inside the pixel ("Electron event representation data enable efficient cryoEM file storage with full
preservation of spatial and temporal resolution", Guo et al., IUCrJ 7 (2020) 860, doi:10.1107/S205225252000929X).
imagecodecs decodes the strips.
"""

from __future__ import annotations

import re
from pathlib import Path

import imagecodecs
import numpy as np
from tifffile import TiffFile, TiffPage

from cryorepro.em.errors import InputError
from cryorepro.em.movies.movie import Movie, Pixels
from cryorepro.em.movies.tiff_pages import EER_COMPRESSIONS, check_page, explained

SUPER_RESOLUTIONS = (1, 2, 4)
METADATA_TAG = 65001
_FRAME_COUNT = re.compile(rb'<item\s+name="numberOfFrames"[^>]*>\s*(\d{1,9})\s*</item>')
_MAX_BYTE_FRAMES = 255  # a pixel has at most one event per detector frame, so a byte holds as many


class EerMovie(Movie):
    """A movie of detector frames, summed to fractions.

    Attributes:
        detector_frames: Detector frames in the file.
        super_resolution: 1, 2 or 4: pixels per detector pixel along each side.
    """

    kind = "eer"

    def __init__(
        self, path: Path, file: TiffFile, pages: list[TiffPage], *, fractions: int | None, super_resolution: int
    ) -> None:
        """Check every directory and the frame count that the file itself declares; decode nothing.

        Raises:
            InputError: a frame is missing, truncated or of another shape, or there are fewer frames than fractions.
        """
        self._file, self._pages = file, _event_pages(path, pages)
        _check_count(path, pages[0], len(self._pages))
        first, self.super_resolution = self._pages[0], super_resolution
        self._bits = _code_bits(path, first)
        size = path.stat().st_size
        for number, page in enumerate(self._pages, start=1):
            check_page(path, page, number, size)
            if page.shape != first.shape or _code_bits(path, page) != self._bits:
                raise InputError(f"{path}: detector frame {number} differs in shape or coding from the first.")
        self.detector_frames = len(self._pages)
        self._bounds = fraction_bounds(path, self.detector_frames, fractions)
        rows, columns = first.shape
        if super_resolution == 2 and (rows % 2 or columns % 2):
            raise InputError(f"{path}: a detector of {rows} x {columns} pixels, odd sides, cannot be read at factor 2.")
        most = int(np.diff(self._bounds).max())
        super().__init__(
            path,
            len(self._bounds) - 1,
            (rows * super_resolution, columns * super_resolution),
            np.dtype(np.uint8 if most <= _MAX_BYTE_FRAMES else np.uint16),
        )
        self.hardware_frames = tuple(np.diff(self._bounds).tolist())

    def _read_into(self, index: int, out: Pixels) -> None:
        out.fill(0)
        level = SUPER_RESOLUTIONS.index(self.super_resolution)
        for number in range(self._bounds[index], self._bounds[index + 1]):
            with explained(self.path, f"detector frame {number + 1} cannot be decoded; the file may be damaged"):
                strip = self._strip(number)
                imagecodecs.eer_decode(strip, self.shape, *self._bits, superres=level, out=out)

    def _strip(self, number: int) -> bytes:
        page, handle = self._pages[number], self._file.filehandle
        parts = []
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            handle.seek(offset)
            parts.append(handle.read(count))
        strip = b"".join(parts)
        return strip + b"\0" * (len(strip) % 2)  # the decoder takes whole 16-bit words

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def fraction_bounds(path: Path, detector_frames: int, fractions: int | None) -> list[int]:
    """First detector frame of every fraction, and the end: all frames are used, in shares that differ by 1 at most.

    Raises:
        InputError: fewer than 1 fraction, or more than there are frames.
    """
    wanted = detector_frames if fractions is None else fractions
    if not 1 <= wanted <= detector_frames:
        raise InputError(f"{path}: {wanted} fractions cannot be made of {detector_frames} detector frames.")
    return [part * detector_frames // wanted for part in range(wanted + 1)]


def _event_pages(path: Path, pages: list[TiffPage]) -> list[TiffPage]:
    """The detector frames: everything but an uncompressed sum that some files begin with."""
    found = [page for page in pages if page.compression in EER_COMPRESSIONS]
    strangers = [page for page in pages[1:] if page.compression not in EER_COMPRESSIONS]
    if not found or strangers:
        raise InputError(f"{path}: an EER file whose pictures are not all electron events.")
    return found


def _check_count(path: Path, first: TiffPage, found: int) -> None:
    tag = first.tags.get(METADATA_TAG)
    declared = _FRAME_COUNT.search(bytes(tag.value)) if tag is not None and isinstance(tag.value, bytes) else None
    if declared and int(declared[1]) != found:
        raise InputError(f"{path}: the metadata declare {int(declared[1])} detector frames, but {found} are there.")


def _code_bits(path: Path, page: TiffPage) -> tuple[int, int, int]:
    """Bits of the run length and of the place inside a pixel along x and y."""
    if page.compression == 65000:
        raise InputError(
            f"{path}: EER with 8-bit runs (TIFF compression 65000, of prototype cameras) is not supported: "
            "imagecodecs and RELION decode its long runs differently."
        )
    if page.compression == 65001:
        return 7, 2, 2
    bits = int(page.tags.valueof(65007, 7)), int(page.tags.valueof(65008, 2)), int(page.tags.valueof(65009, 2))
    if not (5 <= bits[0] <= 12 and bits[1:] == (2, 2)):
        raise InputError(f"{path}: EER codes of {bits[0]} + {bits[1]} + {bits[2]} bits are not supported.")
    return bits
