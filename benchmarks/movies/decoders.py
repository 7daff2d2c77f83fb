"""How fast each decoder is, against the library it stands on.

    python -m benchmarks.movies.decoders [--side 4096] [--frames 8] [--rounds 5]

CPU-seconds of one thread, the least of several rounds in which all contenders take turns; the files are in the page
cache. "library" is the fastest that the library does by itself into an array that is there already: libtiff's or
imagecodecs' decoder on bytes in memory, `mrcfile.read` for MRC, `numpy.fromfile` for 4-bit MRC, which no library reads.
"tifffile" is what its own interface reaches on one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import imagecodecs
import mrcfile
import numpy as np
import tifffile
from numpy.typing import NDArray

from cryorepro.em.movies.eer_writer import events_of_counts, write_movie_eer
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.movies.writers import Compression, write_movie_mrc, write_movie_tiff

_COUNTS_PER_PIXEL = 0.8
_EVENTS_PER_PIXEL = 0.02  # of one detector frame
_DETECTOR_FRAMES = 5  # in each fraction
_HEAD = (
    "file", "stored MB", "ours Mpx/s", "ours MB/s decoded", "ours MB/s stored", "library Mpx/s", "tifffile Mpx/s",
    "ours : library",
)  # fmt: skip
Pixels = NDArray[Any]
Read = Callable[[], Pixels]


@dataclass
class Case:
    """One file and everything that reads it."""

    name: str
    stored_bytes: int
    contenders: dict[str, Read]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096, help="rows and columns of a frame in pixels")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"| {' | '.join(_HEAD)} |")
    print("|---" * len(_HEAD) + "|")
    with tempfile.TemporaryDirectory() as folder:
        shape = (options.frames, options.side, options.side)
        counts = np.random.default_rng(0).poisson(_COUNTS_PER_PIXEL, shape).astype(np.uint8)
        for make in (_tiff_cases, _mrc_cases, _eer_cases):
            for case in make(Path(folder), counts):
                print(_row(case, options.rounds), flush=True)


def _row(case: Case, rounds: int) -> str:
    """Time the contenders in turns, after one call each that must give the same pixels."""
    first = {name: read() for name, read in case.contenders.items()}
    ours = first["ours"]
    for name, found in first.items():
        if not np.array_equal(found, ours):
            raise SystemExit(f"{case.name}: {name} reads other pixels")
    pixels, decoded = ours.size, ours.nbytes
    del first, ours
    least = dict.fromkeys(case.contenders, float("inf"))
    for _ in range(rounds):
        for name, read in case.contenders.items():
            before = time.process_time()
            read()
            least[name] = min(least[name], time.process_time() - before)
    rates = {name: pixels / seconds / 1e6 for name, seconds in least.items()}
    own = least["ours"]
    columns = [
        case.stored_bytes / 1e6, rates["ours"], decoded / own / 1e6, case.stored_bytes / own / 1e6, rates["library"],
        rates.get("tifffile"),
    ]  # fmt: skip
    shown = ["" if value is None else f"{value:.0f}" for value in columns]
    return f"| {' | '.join([case.name, *shown, format(rates['ours'] / rates['library'], '.2f')])} |"


def _ours(path: Path, **options: int) -> Read:
    fractions, factor = options.get("fractions"), options.get("factor", 1)

    def read() -> Pixels:
        with open_movie(path, eer_fractions=fractions, eer_super_resolution=factor) as movie:
            return movie.read_all()

    return read


def _tiff_cases(folder: Path, counts: Pixels) -> list[Case]:
    cases = []
    for compression, dtype in (
        ("none", "uint8"), ("lzw", "uint8"), ("deflate", "uint8"), ("lzw", "uint16"), ("lzw", "float32"),
    ):  # fmt: skip
        path = folder / f"{compression}_{dtype}.tif"
        write_movie_tiff(path, counts.astype(dtype), cast(Compression, compression))
        cases.append(_tiff_case(path, f"TIFF {compression} {dtype}", counts.shape, np.dtype(dtype)))
    return cases


def _tiff_case(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Case:
    raw, out = path.read_bytes(), np.empty(shape, dtype=dtype)

    def library() -> Pixels:
        for index in range(shape[0]):
            imagecodecs.tiff_decode(raw, index=index, out=out[index])
        return out

    def by_tifffile() -> Pixels:
        with tifffile.TiffFile(path) as file:
            for index, page in enumerate(file.pages):
                page.asarray(out=out[index], maxworkers=1)
        return out

    return Case(name, len(raw), {"ours": _ours(path), "library": library, "tifffile": by_tifffile})


def _mrc_cases(folder: Path, counts: Pixels) -> list[Case]:
    cases = []
    for mode in (0, 1, 2, 6, 12, 101):
        path = folder / f"mode{mode}.mrcs"
        write_movie_mrc(path, counts, mode)
        library = _packed_bytes(path, counts) if mode == 101 else _mrcfile(path)
        cases.append(Case(f"MRC mode {mode}", path.stat().st_size, {"ours": _ours(path), "library": library}))
    return cases


def _mrcfile(path: Path) -> Read:
    return lambda: cast(Pixels, mrcfile.read(path))


def _packed_bytes(path: Path, counts: Pixels) -> Read:
    """The bytes as they are, which is less work than unpacking them; the pixels are handed out for the comparison."""

    def read() -> Pixels:
        np.fromfile(path, dtype=np.uint8, offset=1024)
        return counts

    return read


def _eer_cases(folder: Path, counts: Pixels) -> list[Case]:
    stream = np.random.default_rng(1)
    fractions, *shape = counts.shape
    events = []
    for _ in range(fractions):
        drawn = stream.binomial(_DETECTOR_FRAMES, _EVENTS_PER_PIXEL, shape).astype(np.uint8)
        events += events_of_counts(drawn, _DETECTOR_FRAMES, stream)
    path = folder / "events.eer"
    write_movie_eer(path, events, (shape[0], shape[1]))
    return [_eer_case(path, factor, fractions, (shape[0] * factor, shape[1] * factor)) for factor in (1, 2, 4)]


def _eer_case(path: Path, factor: int, fractions: int, shape: tuple[int, int]) -> Case:
    level = {1: 0, 2: 1, 4: 2}[factor]
    with tifffile.TiffFile(path) as file:
        strips = [file.filehandle.read_segments(p.dataoffsets, p.databytecounts) for p in file.pages]
        codes = [b"".join(cast(bytes, part[0]) for part in strip) for strip in strips]
    out = np.empty((fractions, *shape), dtype=np.uint8)

    def library() -> Pixels:
        out.fill(0)
        for index, code in enumerate(codes):
            imagecodecs.eer_decode(code, shape, 7, 2, 2, superres=level, out=out[index // _DETECTOR_FRAMES])
        return out

    def by_tifffile() -> Pixels:
        out.fill(0)
        with tifffile.TiffFile(path, superres=level) as file:
            for index, page in enumerate(file.pages):
                out[index // _DETECTOR_FRAMES] += page.asarray(maxworkers=1)
        return out

    contenders = {"ours": _ours(path, fractions=fractions, factor=factor), "library": library, "tifffile": by_tifffile}
    return Case(f"EER factor {factor}, {len(codes)} detector frames", path.stat().st_size, contenders)


if __name__ == "__main__":
    main()
