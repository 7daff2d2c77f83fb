"""How long a list of movies takes to decode with and without worker processes.

    python -m benchmarks.movies.ahead [--movies 12] [--side 4096] [--frames 8] [--rounds 3]

Wall-clock seconds, the least of several rounds in which the numbers of workers take turns. The consumer sums every
movie, which is little beside decoding it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from cryorepro.em.movies.ahead import decode_ahead
from cryorepro.em.movies.writers import write_movie_tiff

_WORKERS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=int, default=12)
    parser.add_argument("--side", type=int, default=4096, help="rows and columns of a frame in pixels")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shape = (options.frames, options.side, options.side)
    with tempfile.TemporaryDirectory() as folder:
        frames = np.random.default_rng(0).poisson(0.8, shape).astype(np.uint8)
        path = Path(folder) / "movie.tif"
        write_movie_tiff(path, frames, "lzw")
        least = dict.fromkeys(_WORKERS, float("inf"))
        for _ in range(options.rounds):
            for workers in _WORKERS:
                least[workers] = min(least[workers], _seconds([path] * options.movies, workers, frames))
    print("| workers | seconds | Mpx/s |\n|---|---|---|")
    for workers, seconds in least.items():
        print(f"| {workers} | {seconds:.2f} | {options.movies * frames.size / seconds / 1e6:.0f} |")


def _seconds(paths: list[Path], workers: int, frames: np.ndarray) -> float:
    expected = int(frames.sum())
    before = time.perf_counter()
    for movie in decode_ahead(paths, workers):
        if movie.frames is None or int(movie.frames.sum(dtype=np.int64)) != expected:
            raise SystemExit(f"{workers} workers: a movie was not decoded")
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
