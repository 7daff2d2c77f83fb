"""Which movies of a list can be used, and which are set aside, with the reason.

Every file is opened and compared with what the dataset declares, or with what most of its files are like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.movies.movie import Movie, Pixels
from cryorepro.em.movies.opening import NotAMovie, open_movie

Key = TypeVar("Key", bound=Hashable)
SET_ASIDE = "set_aside.star"


@dataclass(frozen=True)
class SetAside:
    """Why a movie is not used: a word for tables, and a sentence."""

    fault: str
    reason: str


@dataclass(frozen=True)
class MovieCheck:
    """What became of a list of movies.

    Attributes:
        usable: Indices of those that can be used, ascending.
        aside: The others by index.
        stored_frames: Frames in each usable movie's file (for EER, detector frames).
        frames: Frames that each usable movie is read as (for EER, fractions).
        shape: (rows, columns) of their frames as they are read.
        most_bytes: Those that all frames of the largest take when they are decoded.
    """

    usable: list[int]
    aside: dict[int, SetAside] = field(default_factory=dict)
    stored_frames: int = 0
    frames: int = 0
    shape: tuple[int, int] = (0, 0)
    most_bytes: int = 0


@dataclass(frozen=True)
class _Found:
    stored_frames: int
    frames: int
    shape: tuple[int, int]
    nbytes: int


def check_movies(
    paths: Sequence[Path],
    *,
    stored_frames: int | None = None,
    shape: tuple[int, int] | None = None,
    eer_fractions: int | None = None,
    eer_super_resolution: int = 1,
    look_inside: bool = True,
    workers: int = 1,
) -> MovieCheck:
    """Open every movie, and set aside those that cannot be read or are not like the others.

    Args:
        paths: The files.
        stored_frames: Frames that each file has by declaration (for EER, detector frames); else the majority's.
        shape: (rows, columns) of frames as they are read, by declaration; else the majority's.
        eer_fractions: As for ``open_movie``.
        eer_super_resolution: As for ``open_movie``.
        look_inside: Decode the first frame too (all of them if it is zero), to find movies of zeros and of NaN.
        workers: Processes that open movies at the same time; the outcome does not depend on it.

    Raises:
        InputError: no movie can be used, or no majority says what the movies are like.
    """
    # here, not above: it loads torch, which those who only read the lists of what was set aside do without
    from cryorepro.em.parallel import map_in_order

    found: dict[int, _Found] = {}
    aside: dict[int, SetAside] = {}
    opener = partial(open_movie, eer_fractions=eer_fractions, eer_super_resolution=eer_super_resolution)
    results = map_in_order(lambda index: _examine(paths[index], opener, look_inside), len(paths), workers)
    for index, result in enumerate(results):
        if isinstance(result, SetAside):
            aside[index] = result
        else:
            found[index] = result
    if not found:
        reasons = "; ".join(each.reason.removesuffix(".") for each in list(aside.values())[:3])
        raise InputError(f"None of {len(paths)} movies can be used: {reasons}.")
    return _compare(paths, found, aside, stored_frames, shape)


def _examine(path: Path, opener: Callable[[Path], Movie], look_inside: bool) -> _Found | SetAside:
    try:
        with opener(path) as movie:
            fault = _content_fault(movie) if look_inside else None
            return fault or _Found(sum(movie.hardware_frames), movie.frames, movie.shape, movie.nbytes)
    except InputError as error:
        return unreadable(error)


def _compare(
    paths: Sequence[Path],
    found: Mapping[int, _Found],
    aside: dict[int, SetAside],
    stored_frames: int | None,
    shape: tuple[int, int] | None,
) -> MovieCheck:
    wanted_shape = shape or _majority({i: each.shape for i, each in found.items()}, "shapes")
    wanted_frames = stored_frames or _majority({i: each.stored_frames for i, each in found.items()}, "frame counts")
    source = "declared" if shape or stored_frames else "most have"
    for index, each in found.items():
        if each.shape != wanted_shape:
            aside[index] = SetAside("odd_shape", f"{paths[index]}: frames of {each.shape}, {source} {wanted_shape}.")
        elif each.stored_frames != wanted_frames:
            aside[index] = SetAside(
                "odd_frame_count", f"{paths[index]}: {each.stored_frames} frames, {source} {wanted_frames}."
            )
    usable = [index for index in found if index not in aside]
    if not usable:
        raise InputError(f"None of {len(paths)} movies has {wanted_frames} frames of {wanted_shape} as declared.")
    most = max(found[index].nbytes for index in usable)
    return MovieCheck(usable, dict(sorted(aside.items())), wanted_frames, found[usable[0]].frames, wanted_shape, most)


def _majority(values: Mapping[int, Key], what: str) -> Key:
    counted = Counter(values.values()).most_common(2)
    if len(counted) > 1 and counted[0][1] == counted[1][1]:
        raise InputError(
            f"The movies have different {what} ({counted[0][0]}, {counted[1][0]}) and no majority; "
            "declare which is right."
        )
    return counted[0][0]


def _content_fault(movie: Movie) -> SetAside | None:
    first = movie.read_frame(0)
    if np.any(first):
        return frames_fault(movie.path, first[None])
    for index in range(1, movie.frames):
        if np.any(movie.read_frame(index)):
            return SetAside("empty_frame", f"{movie.path}: frame 1 is zero everywhere.")
    return SetAside("all_zero", f"{movie.path}: every frame is zero everywhere.")


def unreadable(error: InputError) -> SetAside:
    """What a file that could not be read is set aside for."""
    return SetAside("not_a_movie" if isinstance(error, NotAMovie) else "unreadable", str(error))


def frames_fault(path: Path, frames: Pixels) -> SetAside | None:
    """What is wrong with decoded frames ``[frames, rows, columns]``: NaN, or frames of zeros; None if nothing is."""
    if frames.dtype.kind == "f" and not np.isfinite(frames.sum(dtype=np.float64)):
        return SetAside("not_finite", f"{path}: the frames have NaN or infinite pixels.")
    empty = [number for number, frame in enumerate(frames, start=1) if not frame.any()]
    if len(empty) == len(frames):
        return SetAside("all_zero", f"{path}: every frame is zero everywhere.")
    if empty:
        return SetAside("empty_frame", f"{path}: frame {empty[0]} is zero everywhere ({len(empty)} such frames).")
    return None


def write_set_aside(path: Path, names: Sequence[str], paths: Sequence[Path], aside: Mapping[int, SetAside]) -> None:
    """Write which movies were set aside and why; files by name, so that the table is the same in any folder."""
    rows = sorted(aside)
    columns = {
        "rlnMicrographMovieName": [names[row] for row in rows],
        "cryoreproFault": [aside[row].fault for row in rows],
        "cryoreproReason": [aside[row].reason.replace(str(paths[row]), paths[row].name) for row in rows],
    }
    write_star(path, [make_block("set_aside", columns)])
