"""How long a list of movies takes to decode with and without worker processes.

    python -m benchmarks.movies.ahead [--movies 12] [--side 4096] [--frames 8] [--rounds 3]

The least of several rounds in which the numbers of workers take turns: wall-clock seconds, and CPU-seconds of this
process and of all together, which other work on the machine changes less. The consumer sums every movie.
"""

from __future__ import annotations

import argparse
import resource
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
        least = dict.fromkeys(_WORKERS, (float("inf"),) * 3)
        for _ in range(options.rounds):
            for workers in _WORKERS:
                found = _seconds([path] * options.movies, workers, int(frames.sum()))
                least[workers] = (min(least[workers][0], found[0]), *min(least[workers][1:], found[1:], key=max))
    print("| workers | wall s | CPU s here | CPU s in all | Mpx per CPU s |\n|---|---|---|---|---|")
    for workers, (wall, here, total) in least.items():
        rate = options.movies * frames.size / total / 1e6
        print(f"| {workers} | {wall:.2f} | {here:.2f} | {total:.2f} | {rate:.0f} |")


def _seconds(paths: list[Path], workers: int, expected: int) -> tuple[float, float, float]:
    """Wall-clock seconds, CPU-seconds of this process, and of it and its workers."""
    wall, here, children = time.perf_counter(), time.process_time(), _children()
    for movie in decode_ahead(paths, workers):
        if movie.frames is None or int(movie.frames.sum(dtype=np.int64)) != expected:
            raise SystemExit(f"{workers} workers: a movie was not decoded")
    here = time.process_time() - here
    return time.perf_counter() - wall, here, here + _children() - children


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
