"""Files the benchmark reads: movies in TIFF, EER and MRC, particle stacks. Made from a seed, checked for room."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cryorepro.em.errors import InputError
from cryorepro.workflow.bench.eer import write_eer
from cryorepro.workflow.bench.sizes import Sizes

ROOM_FACTOR = 1.2
_EVENTS_PER_PIXEL = {"counted": 0.8, "eer": 0.01}
"""Electrons per pixel and frame: of a counted frame after summing, and of one raw EER frame."""


@dataclass(frozen=True)
class BenchFiles:
    """Paths by kind."""

    tiff: list[Path]
    eer: list[Path]
    mrc: list[Path]
    stacks: list[Path]
    particles_per_stack: int


KINDS = frozenset({"tiff", "eer", "mrc", "stacks"})


def needed_bytes(sizes: Sizes, kinds: frozenset[str] = KINDS) -> int:
    """Room the files take, at most."""
    movie = sizes.movies * sizes.movie_frames * sizes.movie_px**2
    eer = sizes.movies * sizes.eer_frames * sizes.movie_px**2 // 40
    room = {"tiff": movie, "mrc": movie, "eer": eer, "stacks": sizes.particle_bytes}
    return int(ROOM_FACTOR * sum(room[kind] for kind in kinds))


def make_files(directory: Path, sizes: Sizes, seed: int = 1, kinds: frozenset[str] = KINDS) -> BenchFiles:
    """Write every file of ``kinds`` below ``directory``.

    Raises:
        InputError: not enough room.
    """
    free, needed = shutil.disk_usage(directory).free, needed_bytes(sizes, kinds)
    if free < needed:
        raise InputError(f"{directory}: {free / 1e9:.1f} GB free, the files need {needed / 1e9:.1f} GB")
    generator = np.random.default_rng(seed)
    movies = {kind: range(sizes.movies if kind in kinds else 0) for kind in ("tiff", "eer", "mrc")}
    stacks = range(sizes.particle_files if "stacks" in kinds else 0)
    return BenchFiles(
        tiff=[_tiff(directory / f"movie{i}.tif", sizes, generator) for i in movies["tiff"]],
        eer=[_eer(directory / f"movie{i}.eer", sizes, generator) for i in movies["eer"]],
        mrc=[_mrc(directory / f"movie{i}.mrc", sizes, generator) for i in movies["mrc"]],
        stacks=[_stack(directory / f"stack{i:03d}.mrcs", sizes, generator) for i in stacks],
        particles_per_stack=sizes.particles // sizes.particle_files,
    )


def counted_frame(sizes: Sizes, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A frame of counted electrons, Poisson as dose is."""
    shape = (sizes.movie_px, sizes.movie_px)
    return generator.poisson(_EVENTS_PER_PIXEL["counted"], shape).astype(np.uint8)


def _tiff(path: Path, sizes: Sizes, generator: np.random.Generator) -> Path:
    import tifffile

    with tifffile.TiffWriter(path) as movie:
        for _ in range(sizes.movie_frames):
            movie.write(counted_frame(sizes, generator), compression="lzw", rowsperstrip=64, metadata=None)
    return path


def _eer(path: Path, sizes: Sizes, generator: np.random.Generator) -> Path:
    write_eer(path, sizes.eer_frames, sizes.movie_px, _EVENTS_PER_PIXEL["eer"], generator)
    return path


def _mrc(path: Path, sizes: Sizes, generator: np.random.Generator) -> Path:
    import mrcfile

    frame = counted_frame(sizes, generator).astype(np.int8)
    shape = (sizes.movie_frames, sizes.movie_px, sizes.movie_px)
    with mrcfile.new_mmap(path, shape=shape, mrc_mode=0, overwrite=True) as movie:
        for index in range(sizes.movie_frames):
            movie.data[index] = np.roll(frame, 17 * index, axis=0)
    return path


def _stack(path: Path, sizes: Sizes, generator: np.random.Generator) -> Path:
    import mrcfile

    count, box = sizes.particles // sizes.particle_files, sizes.particle_box_px
    base = generator.standard_normal((box, box), dtype=np.float32)
    with mrcfile.new_mmap(path, shape=(count, box, box), mrc_mode=2, overwrite=True) as stack:
        for index in range(count):
            stack.data[index] = np.roll(base, 13 * index, axis=1)
    return path
