"""Movies per minute of motion correction on a device, decoding and writing included.

    python -m benchmarks.movies.motion_rate --device cuda --side 5760x4092 --frames 40 [--movies 8] [--threads 8]

One movie of counts (1 per pixel, 8 bit, LZW TIFF) of a scene that drifts is made, once in ``--data`` if that is given,
and corrected under ``--movies`` names with a gain reference, 5 x 5 patches and exposure weights. ``--threads`` are the
workers: those that correct movies on the CPU, those that decode them for a GPU. The start of processes and of the
device is left out: on the CPU the rate begins when each worker has ended its first movie, on a GPU after the first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cryorepro.em.devices.choice import chosen_device
from cryorepro.em.errors import InputError
from cryorepro.em.motion.correct import MotionSettings
from cryorepro.em.motion.job import Exposure, MotionJob, correct_movies
from cryorepro.em.movies.table import MovieGroup, read_movie_table, write_movie_table
from cryorepro.em.movies.writers import write_movie_tiff

_GROUP = MovieGroup(300.0, 2.7, 0.1, 0.83)
_DOSE = 1.2
_DRIFT_PX = 0.7
_BLOCK = 16


@dataclass(frozen=True)
class Rate:
    """Movies per minute and millions of pixels per second, and the most that torch held on a GPU, in GB."""

    per_minute: float
    megapixels: float
    peak_gb: float | None


def made(folder: Path, shape: tuple[int, int], frames: int, count: int) -> Path:
    """A list of ``count`` links to one movie of this size in ``folder``, which is made unless it is there."""
    movie = folder / f"{shape[1]}x{shape[0]}_{frames}.tif"
    if not movie.exists():
        random = np.random.default_rng(1)
        blocks = random.uniform(0.6, 1.4, (shape[0] // _BLOCK + 2, shape[1] // _BLOCK + 2)).astype(np.float32)
        scene = np.kron(blocks, np.ones((_BLOCK, _BLOCK), dtype=np.float32))[: shape[0], : shape[1]]
        counts = np.empty((frames, *shape), dtype=np.uint8)
        for number in range(frames):
            counts[number] = random.poisson(np.roll(scene, round(_DRIFT_PX * number), axis=(0, 1))).clip(0, 255)
        write_movie_tiff(movie, counts, "lzw")
    names = [f"{movie.stem}_{number}.tif" for number in range(count)]
    for name in names:
        if not (folder / name).exists():
            (folder / name).symlink_to(movie.name)
    write_movie_table(folder / "movies.star", names, _GROUP)
    return folder / "movies.star"


def measure(star: Path, output: Path, device: torch.device, threads: int) -> Rate:
    """Correct the list and say how fast that was."""
    table, ends = read_movie_table(star), list[float]()
    settings = [MotionSettings(group.pixel_size_angstrom, group.voltage_kv, unweighted=False) for group in table.groups]
    job = MotionJob(
        table,
        settings,
        Exposure(per_frame=_DOSE),
        _gain(table.paths[0]),
        "gain.mrc",
        said=lambda _line: ends.append(time.perf_counter()),
    )
    output.mkdir()
    correct_movies(job, output, threads, device)
    first = _left_out(device, threads)
    per_minute = 60.0 * (len(ends) - first) / (ends[-1] - ends[first - 1])
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    return Rate(per_minute, per_minute / 60.0 * _megapixels(table.paths[0]), peak)


def _left_out(device: torch.device, threads: int) -> int:
    return threads if device.type == "cpu" else 1


def _gain(movie: Path) -> np.ndarray:
    columns, rows = (int(side) for side in movie.name.split("_")[0].split("x"))
    return np.random.default_rng(2).normal(1.0, 0.03, (rows, columns)).clip(0.8).astype(np.float32)


def _megapixels(movie: Path) -> float:
    sides, frames = movie.name.split("_")[:2]
    columns, rows = (int(side) for side in sides.split("x"))
    return columns * rows * int(frames) / 1e6


def _sides(text: str) -> tuple[int, int]:
    """(rows, columns) of ``COLUMNSxROWS``, or of one side."""
    sides = [int(word) for word in text.split("x")]
    if len(sides) not in (1, 2) or min(sides) < 64:
        raise argparse.ArgumentTypeError(f"'{text}' is no COLUMNSxROWS of 64 pixels or more")
    return sides[-1], sides[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--side", type=_sides, default=(4092, 5760), metavar="COLUMNSxROWS")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--movies", type=int, default=8, help="at least one more than is not counted")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--data", type=Path, help="where the movie is kept; a folder that is removed unless given")
    given = parser.parse_args(arguments)
    try:
        device = chosen_device(given.device, "motion_rate")
    except InputError as error:
        print(f"not-attempted: {error}")
        return
    if given.movies <= _left_out(device, given.threads):
        parser.error(f"--movies: the first {_left_out(device, given.threads)} are not counted")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = given.data or home
        folder.mkdir(parents=True, exist_ok=True)
        star = made(folder, given.side, given.frames, given.movies)
        rate = measure(star, home / "out", device, given.threads)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak = "" if rate.peak_gb is None else f"{rate.peak_gb:.1f}"
    print("| device | threads | columns x rows x frames | movies per minute | Mpx/s | peak GB on the device |")
    print("|---|---|---|---|---|---|")
    sides = f"{given.side[1]} x {given.side[0]} x {given.frames}"
    print(f"| {name} | {given.threads} | {sides} | {rate.per_minute:.1f} | {rate.megapixels:.0f} | {peak} |")


if __name__ == "__main__":
    main()
