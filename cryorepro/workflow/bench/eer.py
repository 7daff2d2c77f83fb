"""Electron-event movies made for the benchmark: the encoder that imagecodecs lacks.

The format (Guo et al., IUCrJ 7 (2020) 860; Thermo Fisher's EER specification): a stream of bits, lowest first, of
pairs (pixels skipped, sub-pixel position). A skip of all ones carries no event and continues in the next code.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

SKIP_BITS, SUBPIXEL_BITS = 7, 4
_WORD_BYTES = 8
_LONG, _UNDEFINED = 16, 7
_METADATA = b'<metadata><item name="made">for a benchmark</item></metadata>'
COMPRESSION = 65001
"""TIFF compression of 7 bits of skip and 2 + 2 bits of sub-pixel position."""


def encode(frame: npt.NDArray[np.bool_], generator: np.random.Generator) -> bytes:
    """The events of one frame ``[rows, columns]``; sub-pixel positions are drawn."""
    longest = (1 << SKIP_BITS) - 1
    events = np.flatnonzero(frame)
    # the last code skips to the end of the frame: decoders stop there
    gaps = np.diff(np.concatenate([[-1], events, [frame.size]])) - 1
    full, rest = np.divmod(gaps, longest)
    sub = generator.integers(0, 1 << SUBPIXEL_BITS, size=len(gaps))
    total = int(full.sum()) + len(gaps)
    last = np.cumsum(full + 1) - 1
    skips, widths = np.full(total, longest), np.full(total, SKIP_BITS)
    skips[last], widths[last] = rest, SKIP_BITS + SUBPIXEL_BITS
    values = skips.copy()
    values[last] |= sub << SKIP_BITS
    bits = (values[:, None] >> np.arange(SKIP_BITS + SUBPIXEL_BITS)) & 1
    stream = bits[np.arange(SKIP_BITS + SUBPIXEL_BITS) < widths[:, None]]
    code = np.packbits(stream.astype(np.uint8), bitorder="little").tobytes()
    return code + b"\0" * (-len(code) % _WORD_BYTES)  # decoders read whole words


def write_eer(path: Path, frames: int, side_px: int, events_per_pixel: float, generator: np.random.Generator) -> None:
    """A movie of ``frames`` random frames ``[side_px, side_px]``, one TIFF directory with one strip for each."""
    with path.open("wb") as movie:
        movie.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        place_of_link = 8
        metadata = movie.tell()
        movie.write(_METADATA)
        for _ in range(frames):
            code = encode(generator.random((side_px, side_px)) < events_per_pixel, generator)
            start = movie.tell()
            movie.write(code)
            directory = movie.tell()
            movie.seek(place_of_link)
            movie.write(struct.pack("<Q", directory))
            movie.seek(directory)
            movie.write(_directory(side_px, start, len(code), metadata))
            place_of_link = movie.tell() - 8


def _directory(side_px: int, start: int, length: int, metadata: int) -> bytes:
    """A BigTIFF directory without a successor, with EER's acquisition metadata."""
    entries = [
        (256, side_px), (257, side_px), (258, 8), (259, COMPRESSION), (262, 1), (273, start), (277, 1), (278, side_px),
        (279, length),
    ]  # fmt: skip
    packed = b"".join(struct.pack("<HHQQ", tag, _LONG, 1, value) for tag, value in entries)
    packed += struct.pack("<HHQQ", 65001, _UNDEFINED, len(_METADATA), metadata)
    return struct.pack("<Q", len(entries) + 1) + packed + struct.pack("<Q", 0)
