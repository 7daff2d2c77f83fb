"""Motion correction of a list of movies by worker processes or on a GPU, bad ones set aside by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.overlap import overlapped
from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import Value
from cryorepro.em.heap import keep_freed_memory
from cryorepro.em.motion.correct import CorrectedMovie, MotionSettings, accumulated_motion, correct_movie
from cryorepro.em.motion.decoded import HeldMovie, affordable_decoders, decoded_movies
from cryorepro.em.motion.files import MovieFacts, write_micrographs, write_movie
from cryorepro.em.motion.footprint import bytes_for_frames
from cryorepro.em.motion.raw_frames import TurnedFrames
from cryorepro.em.motion.reduced import binning
from cryorepro.em.movies.checking import SET_ASIDE, MovieCheck, SetAside, check_movies, write_set_aside
from cryorepro.em.movies.defects import Mask, read_defects
from cryorepro.em.movies.exposure import accumulated_exposures, frame_exposures
from cryorepro.em.movies.gain import Flip, fit_gain, read_gain
from cryorepro.em.movies.movie import Movie
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.movies.table import MovieTable
from cryorepro.em.parallel import map_in_order, single_threaded

_MEMORY_SHARE = 0.6
_SUMS = 12
"""Pictures of a frame's size in float32 that are held at once: weighted sums, transforms, gain."""


@dataclass(frozen=True)
class Exposure:
    """Exposure of movies in e/A^2: of a whole movie or of each frame, and before the movie; None where not known."""

    total: float | None = None
    per_frame: float | None = None
    before: float = 0.0

    def accumulated(self, movie: Movie | HeldMovie) -> NDArray[np.float64] | None:
        """At the end of every frame that is there."""
        if self.per_frame is not None:
            return accumulated_exposures(np.full(movie.frames, self.per_frame), self.before)
        if self.total is not None:
            return accumulated_exposures(frame_exposures(self.total, movie.hardware_frames), self.before)
        return None


class EerReading(TypedDict):
    """What ``open_movie`` takes besides a path."""

    eer_fractions: int | None
    eer_super_resolution: int


@dataclass(frozen=True)
class MotionJob:
    """Everything about a list of movies that is not in the movies.

    Attributes:
        table: the list.
        settings: of each movie by row; exposures are filled in.
        exposure: None for no exposure weighting.
        gain: ready to multiply frames; None for none.
        gain_name: its file.
        defects: a file of bad pixels, or None.
        early_e_per_angstrom2: up to which motion counts as early.
        eer_fractions, eer_super_resolution: as for ``open_movie``.
        stored_frames: of every movie by declaration, or None for what most have.
    """

    table: MovieTable
    settings: list[MotionSettings]
    exposure: Exposure | None = None
    gain: NDArray[np.float32] | None = None
    gain_name: str | None = None
    defects: Path | None = None
    early_e_per_angstrom2: float = 4.0
    eer_fractions: int | None = None
    eer_super_resolution: int = 1
    stored_frames: int | None = None
    said: Callable[[str], None] = field(default=print, compare=False)

    @property
    def reading(self) -> EerReading:
        """How ``open_movie`` is asked to read EER."""
        return EerReading(eer_fractions=self.eer_fractions, eer_super_resolution=self.eer_super_resolution)


def read_oriented_gain(path: Path, flip: Flip, quarter_turns: int, *, reciprocal: bool) -> NDArray[np.float32]:
    """Read a gain reference for frames as they are corrected: a TIFF file's first row is on top, as that of a movie's.

    Raises:
        InputError: as ``read_gain``.
    """
    if path.suffix.lower() in (".tif", ".tiff"):
        # upside down first, then turned: the same as turned the other way round, then upside down
        quarter_turns = -quarter_turns
        if flip == "x":
            flip, quarter_turns = "none", quarter_turns + 2
        else:
            flip = "none" if flip == "y" else "y"
    return read_gain(path, flip=flip, rotation_quarter_turns=quarter_turns % 4, reciprocal=reciprocal)


def correct_movies(job: MotionJob, directory: Path, workers: int, device: torch.device = CPU) -> None:
    """Correct every usable movie and write sums, trajectories and lists to ``directory``.

    On the CPU each of the ``workers`` is a process that corrects movies; a GPU corrects one after the other, which they
    decode for it. The files have the same bytes for any number of workers.

    Raises:
        InputError: no movie is usable, or the gain reference or the defects do not fit them.
    """
    keep_freed_memory()
    table = job.table
    check = check_movies(table.paths, stored_frames=job.stored_frames, workers=workers, **job.reading)
    if job.gain is not None:
        job = replace(job, gain=fit_gain(job.gain, check.shape, job.gain_name or "gain reference"))
    bad = None if job.defects is None else read_defects(job.defects, check.shape, turn_tiff=True)
    aside, rows = dict(check.aside), {}
    for row, fault in aside.items():
        job.said(f"{table.names[row]}: set aside: {fault.reason}")
    correct = _by_workers if device.type == "cpu" else _on_gpu
    results = correct(_Correction(job, directory, bad, device), check, workers)
    for row, result in zip(check.usable, results, strict=True):
        if isinstance(result, SetAside):
            aside[row] = result
            job.said(f"{table.names[row]}: set aside: {result.reason}")
        else:
            rows[row] = result
            job.said(f"{table.names[row]}: moved {result['rlnAccumMotionTotal']:.2f} A")
    if not rows:
        first = aside[min(aside)]
        raise InputError(
            f"{table.source}: none of {len(table.names)} movies could be corrected; the first: {first.reason}"
        )
    pixels = _pixel_sizes(job)
    write_micrographs(directory, table, rows, pixels)
    write_set_aside(directory / SET_ASIDE, table.names, table.paths, aside)


@dataclass(frozen=True)
class _Correction:
    """What the correction of any movie of a job needs to know."""

    job: MotionJob
    directory: Path
    bad: Mask | None
    device: torch.device


def _by_workers(how: _Correction, check: MovieCheck, workers: int) -> Iterator[dict[str, Value] | SetAside]:
    pixels = math.prod(check.shape)
    workers, memory = _affordable(how.job, check.frames * pixels, pixels, workers)
    return map_in_order(lambda place: _one(how, check.usable[place], memory), len(check.usable), workers)


def _on_gpu(how: _Correction, check: MovieCheck, workers: int) -> Iterator[dict[str, Value] | SetAside]:
    """One movie after the other on the device; the next ones are decoded, and the one before is written, meanwhile."""
    with single_threaded():
        yield from overlapped(lambda done: _left(how, *done), _made_on_gpu(how, check, workers))


def _made_on_gpu(how: _Correction, check: MovieCheck, workers: int) -> Iterator[tuple[int, _Made | SetAside]]:
    decoders = affordable_decoders(check, workers)
    if decoders == 0:
        yield from ((row, _made(how, row)) for row in check.usable)
        return
    paths = [how.job.table.paths[row] for row in check.usable]
    for row, movie in zip(check.usable, decoded_movies(paths, check, decoders, **how.job.reading), strict=True):
        yield row, movie if isinstance(movie, SetAside) else _made(how, row, decoded=movie)


def _affordable(job: MotionJob, values: int, pixels: int, workers: int) -> tuple[int, int]:
    """Workers that fit into memory, and bytes that each may keep of a movie; neither changes a result."""
    free = int(psutil.virtual_memory().available * _MEMORY_SHARE)
    fixed = _SUMS * 4 * pixels
    workers = max(1, min(workers, free // max(1, fixed + min(values, 2**30))))
    return workers, max(2**26, free // workers - fixed)


@dataclass(frozen=True)
class _Made:
    """A movie's sums and trajectory, how they were made, and what files say about it."""

    found: CorrectedMovie
    settings: MotionSettings
    facts: MovieFacts


def _one(how: _Correction, row: int, memory: int) -> dict[str, Value] | SetAside:
    return _left(how, row, _made(how, row, memory))


def _made(how: _Correction, row: int, memory: int | None = None, decoded: HeldMovie | None = None) -> _Made | SetAside:
    """Correct a movie, ``decoded`` or not; ``memory`` bytes hold its frames, on a GPU what it has free."""
    path = how.job.table.paths[row]
    try:
        if decoded is not None:
            return _corrected(how, row, decoded, memory)
        with open_movie(path, **how.job.reading) as movie:
            return _corrected(how, row, movie, memory)
    except InputError as error:
        return SetAside("not_correctable", f"{path}: {error}")


def _corrected(how: _Correction, row: int, movie: Movie | HeldMovie, memory: int | None) -> _Made:
    job = how.job
    exposures = None if job.exposure is None else job.exposure.accumulated(movie)
    settings = replace(job.settings[row], accumulated_e_per_angstrom2=exposures)
    if memory is None:
        memory = bytes_for_frames(movie.frames, movie.shape, binning(settings.bfactor_px2, *movie.shape), how.device)
    settings = replace(settings, memory_bytes=memory)
    source = TurnedFrames(movie) if movie.kind == "tiff" else movie
    found = correct_movie(source, settings, job.gain, how.bad, how.device)
    before = 0.0 if job.exposure is None else job.exposure.before
    facts = MovieFacts(
        movie_name=job.table.names[row],
        gain_name=job.gain_name,
        pixel_size_angstrom=settings.pixel_size_angstrom,
        binned=settings.binned,
        voltage_kv=settings.voltage_kv,
        dose_per_frame=0.0 if exposures is None else (float(exposures[-1]) - before) / movie.frames,
        pre_exposure=before,
    )
    return _Made(found, settings, facts)


def _left(how: _Correction, row: int, made: _Made | SetAside) -> dict[str, Value] | SetAside:
    """Write what was made of a movie; its row of the list of micrographs."""
    if isinstance(made, SetAside):
        return made
    try:
        names = write_movie(how.directory, made.found, made.facts)
    except InputError as error:
        return SetAside("not_correctable", f"{how.job.table.paths[row]}: {error}")
    values: dict[str, Value] = {"rlnMicrographName": names[0], "rlnMicrographMetadata": names[1]}
    if len(names) > 3:
        values = {"rlnMicrographNameNoDW": names[3], **values}
    motion = accumulated_motion(made.found.trajectory, made.settings, how.job.early_e_per_angstrom2)
    labels = ("rlnAccumMotionTotal", "rlnAccumMotionEarly", "rlnAccumMotionLate")
    values.update(zip(labels, motion, strict=True))
    return values


def _pixel_sizes(job: MotionJob) -> Mapping[int, float]:
    groups = job.table.rows.integers("rlnOpticsGroup").tolist() if "rlnOpticsGroup" in job.table.rows.columns else []
    sizes = [settings.pixel_size_angstrom * settings.binned for settings in job.settings]
    known = dict(zip(groups or [1] * len(sizes), sizes, strict=True))
    numbers = job.table.optics.integers("rlnOpticsGroup").tolist()
    stored = job.table.optics.numbers("rlnMicrographOriginalPixelSize")
    return {number: known.get(number, float(stored[place])) for place, number in enumerate(numbers)}
