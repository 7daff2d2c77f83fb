"""Reading movies and particles from the filesystem under a directory, from a cold cache that is looked at."""

from __future__ import annotations

import mmap
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryorepro.workflow.bench.files import BenchFiles
from cryorepro.workflow.bench.rounds import Task, Timing
from cryorepro.workflow.bench.sizes import Sizes
from cryorepro.workflow.timeline.residency import drop, estimate

_BLOCK = 1 << 20
_MRC_HEADER = 1024


def fs_tasks(files: BenchFiles, sizes: Sizes, cached: Sequence[Path] = (), seed: int = 1) -> list[Task]:
    """Sequential reads of movies and stacks, random reads of particles, and direct I/O over the same stacks.

    ``cached`` are copies of the stacks on a cache device, read in random order as well.
    """
    movies = {"tiff": files.tiff, "eer": files.eer, "mrc": files.mrc}
    shape = {"particles": sizes.particles, "box_px": sizes.particle_box_px, "files": sizes.particle_files}
    tasks = [
        _task(f"fs_movies_{kind}", paths, read_whole, {"kind": kind, "access": "sequential"}, ("movies", "sequential"))
        for kind, paths in movies.items()
        if paths
    ]
    if not files.stacks:
        return tasks
    order = _shuffled(files, seed)

    def at_random(paths: Sequence[Path]) -> int:
        return read_particles(paths, order, sizes.particle_box_px)

    tasks += [
        _task("fs_particles_sequential", files.stacks, read_whole, {**shape, "access": "sequential"}, ("particles",)),
        _task("fs_particles_random", files.stacks, at_random, {**shape, "access": "random"}, ("particles", "random")),
        _task("fs_particles_direct", files.stacks, read_direct, {**shape, "access": "direct"}, ("particles", "direct")),
    ]
    if cached:
        tags = ("particles", "random", "cache-device")
        tasks.append(_task("fs_particles_random_cache", cached, at_random, {**shape, "access": "random-cache"}, tags))
    return tasks


def read_whole(paths: Sequence[Path]) -> int:
    """Read files front to back in 1 MiB blocks; bytes read."""
    buffer, total = bytearray(_BLOCK), 0
    for path in paths:
        with path.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                total += count
    return total


def read_direct(paths: Sequence[Path]) -> int:
    """As :func:`read_whole` past the page cache (O_DIRECT), where the filesystem has it.

    Raises:
        OSError: it has not.
    """
    buffer, total = mmap.mmap(-1, _BLOCK), 0  # page aligned, as direct I/O wants
    try:
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
            try:
                while count := os.readv(descriptor, [buffer]):
                    total += count
                    if count < _BLOCK:
                        break  # the end: what remains is no whole block
            finally:
                os.close(descriptor)
    finally:
        buffer.close()
    return total


def read_particles(paths: Sequence[Path], order: Sequence[tuple[int, int]], box_px: int) -> int:
    """Read single particles (stack, place in it) in the given order; bytes read."""
    size, total = box_px * box_px * 4, 0
    descriptors = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
    try:
        for stack, place in order:
            total += len(os.pread(descriptors[stack], size, _MRC_HEADER + place * size))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return total


def supports_direct(path: Path) -> bool:
    """Whether the filesystem of ``path`` takes O_DIRECT."""
    try:
        read_direct([path])
    except OSError:
        return False
    return True


def _task(
    name: str,
    paths: Sequence[Path],
    read: Callable[[Sequence[Path]], int],
    about: dict[str, object],
    tags: tuple[str, ...],
) -> Task:
    expected = sum(path.stat().st_size for path in paths)
    cached: list[float | None] = [None]

    def prepare() -> None:
        drop(paths)
        cached[0] = estimate(paths)

    def run() -> Timing:
        began = time.perf_counter()
        total = read(paths)
        seconds = time.perf_counter() - began
        checks = {"bytes_read": total, "cached_before": cached[0]}
        return Timing(checks=checks, seconds=seconds)

    workload = {**about, "bytes": expected, "files_read": len(paths)}
    return Task(name, "fs", "storage", workload, run, prepare, expected / 1e6, "MB/s", tags, warmups=0)


def _shuffled(files: BenchFiles, seed: int) -> list[tuple[int, int]]:
    order = [(stack, place) for stack in range(len(files.stacks)) for place in range(files.particles_per_stack)]
    random.Random(seed).shuffle(order)
    return order
