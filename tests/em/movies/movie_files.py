"""Small movies for tests, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.movies.eer_writer import events_of_counts, write_movie_eer
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff

KINDS = ("tiff", "eer", "mrc", "mrc4bit")
NAMES = {"tiff": "movie.tif", "eer": "movie.eer", "mrc": "movie.mrc", "mrc4bit": "movie4bit.mrcs"}


def counts(seed: int = 0, frames: int = 4, shape: tuple[int, int] = (12, 17)) -> NDArray[np.uint8]:
    """Counts of 0 to 15 that are 0 nowhere for a whole frame."""
    drawn = np.random.default_rng(seed).poisson(1.5, (frames, *shape))
    drawn[:, 0, 0] = 1
    return np.minimum(drawn, 15).astype(np.uint8)


def write_kind(folder: Path, kind: str, frames: NDArray[Any], seed: int = 0, share: int = 15) -> Path:
    """A movie of ``frames``; for EER each frame is a fraction of ``share`` detector frames."""
    path = folder / NAMES[kind]
    if kind == "tiff":
        write_movie_tiff(path, frames, "lzw")
    elif kind == "eer":
        random = np.random.default_rng(seed)
        events = [each for frame in frames for each in events_of_counts(frame, share, random)]
        write_movie_eer(path, events, (frames.shape[1], frames.shape[2]))
    else:
        write_movie_mrc(path, frames, 101 if kind == "mrc4bit" else 6)
    return path
