"""Write electron events as an EER file that tifffile, imagecodecs and RELION read.

Coding: Guo et al., IUCrJ 7 (2020) 860, doi:10.1107/S205225252000929X: for each event the number of empty pixels since
the last one, in 7 bits of which all ones means "127, and go on" (TIFF compression 65001; 65002 for other widths), then
the place inside the pixel, 2 bits along x and 2 along y whose upper bit is stored inverted (measured on imagecodecs'
and RELION's decoders).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.movies.bigtiff import LONG, SHORT, UNDEFINED, Picture, write_pictures
from cryorepro.em.movies.movie import check_claim

SUB_PIXELS = 4  # places inside a detector pixel along each side
_RUN_BITS, _RUN_BITS_WRITTEN = 7, range(5, 13)
_PLACE_BITS = 4
_INVERTED = 0b1010  # the upper bits of both places
Events = NDArray[np.int64]


def write_movie_eer(
    path: Path, events: Sequence[Events] | Iterable[Events], shape: tuple[int, int], *, run_bits: int = _RUN_BITS
) -> None:
    """Write one detector frame for each array of ``events``.

    Args:
        path: The file.
        events: For each detector frame ``[events, 2]``: (row, column) on the grid of 4 x 4 places per pixel, so from
            0 to 4 x ``shape``. A detector counts at most one event per pixel in a frame.
        shape: (rows, columns) of the detector.
        run_bits: Bits of a run, 5 to 12; RELION reads 7 alone, and frames of 4096 x 4096 pixels alone.

    Raises:
        InputError: no frame, an event outside the detector, or two in one pixel of a frame.
    """
    check_claim(path, 1, shape)
    listed = list(events)
    if run_bits not in _RUN_BITS_WRITTEN:
        raise InputError(f"{path}: EER runs of {run_bits} bits are not written (5 to 12 are).")
    if not listed:
        raise InputError(f"{path}: a movie needs at least one detector frame.")
    with atomic_writer(path) as stream:
        write_pictures(stream, _pictures(path, listed, shape, run_bits))


def _pictures(path: Path, events: list[Events], shape: tuple[int, int], run_bits: int) -> Iterator[Picture]:
    metadata = f'<metadata><item name="numberOfFrames">{len(events)}</item></metadata>'.encode()
    tags: list[tuple[int, int, int | bytes]] = [
        (256, LONG, shape[1]), (257, LONG, shape[0]), (262, SHORT, 1), (278, LONG, shape[0]),
        (259, SHORT, 65001 if run_bits == _RUN_BITS else 65002),
    ]  # fmt: skip
    if run_bits != _RUN_BITS:
        tags += [(65007, SHORT, run_bits), (65008, SHORT, _PLACE_BITS // 2), (65009, SHORT, _PLACE_BITS // 2)]
    for number, frame in enumerate(events):
        strip = encode_events(path, number, frame, shape, run_bits)
        yield Picture(strip, [*tags, (65001, UNDEFINED, metadata)] if number == 0 else tags)


def encode_events(path: Path, number: int, events: Events, shape: tuple[int, int], run_bits: int) -> bytes:
    """The strip of one detector frame, of an even number of bytes."""
    pixels, places = _sorted_events(path, number, events, shape)
    area = shape[0] * shape[1]
    runs = np.diff(pixels, prepend=-1, append=area) - 1  # the last run ends the frame
    full = (1 << run_bits) - 1
    overflows = runs // full
    codes = (runs % full) | (np.append(places, 0) << run_bits)
    # Every event is some overflow codes of run_bits ones, then one code of run and place.
    ends = np.cumsum(overflows * run_bits + run_bits + _PLACE_BITS)
    starts = ends - (run_bits + _PLACE_BITS)
    bits = np.ones(-(-int(ends[-1]) // 16) * 16, dtype=np.uint8)  # overflows are ones already
    bits[ends[-1] :] = 0
    width = np.arange(run_bits + _PLACE_BITS)
    bits[starts[:, None] + width] = (codes[:, None] >> width) & 1
    return np.packbits(bits, bitorder="little").tobytes()


def _sorted_events(path: Path, number: int, events: Events, shape: tuple[int, int]) -> tuple[Events, Events]:
    """Detector pixels with an event, ascending, and the coded place inside each."""
    events = np.asarray(events, dtype=np.int64).reshape(-1, 2)
    rows, columns = events[:, 0], events[:, 1]
    limits = np.array(shape) * SUB_PIXELS
    if len(events) and (events.min() < 0 or (events >= limits).any()):
        raise InputError(f"{path}: detector frame {number + 1} has an event outside {limits[0]} x {limits[1]} places.")
    pixels = (rows // SUB_PIXELS) * shape[1] + columns // SUB_PIXELS
    order = np.argsort(pixels, kind="stable")
    pixels = pixels[order]
    if (np.diff(pixels) == 0).any():
        raise InputError(f"{path}: detector frame {number + 1} has two events in one pixel.")
    places = ((rows % SUB_PIXELS) << 2 | columns % SUB_PIXELS) ^ _INVERTED
    return pixels, places[order]


def events_of_counts(counts: NDArray[np.integer], detector_frames: int, random: np.random.Generator) -> list[Events]:
    """Spread the counts ``[rows, columns]`` of one fraction over detector frames, at random places in their pixels.

    Counts of one pixel go to different frames, so none is lost to coincidence.

    Raises:
        InputError: a pixel has more counts than there are frames.
    """
    highest = int(counts.max(initial=0))
    if highest > detector_frames or int(counts.min(initial=0)) < 0:
        raise InputError(f"EER: {highest} counts in a pixel do not fit in {detector_frames} detector frames.")
    rows, columns = np.nonzero(counts)
    numbers = counts[rows, columns].astype(np.int64)
    first = random.integers(0, detector_frames, len(numbers))
    owner = np.repeat(np.arange(len(numbers)), numbers)
    turn = np.arange(len(owner)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    # The turns of one pixel are spaced over all frames: distinct as long as there are no more of them than frames.
    frame = (first[owner] + turn * detector_frames // numbers[owner]) % detector_frames
    inside = random.integers(0, SUB_PIXELS, (2, len(owner)))
    events = np.stack([rows[owner] * SUB_PIXELS + inside[0], columns[owner] * SUB_PIXELS + inside[1]], axis=1)
    order = np.argsort(frame, kind="stable")
    cuts = np.searchsorted(frame[order], np.arange(1, detector_frames))
    return np.split(events[order], cuts)
