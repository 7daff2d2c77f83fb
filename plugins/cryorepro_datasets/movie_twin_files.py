"""The files of a twin of movies as a runner finds them: movies, their list, the gain reference, defects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cryorepro.em.formats.maps import write_stack
from cryorepro.em.movie_twin.detector import Counts, Detector
from cryorepro.em.movies.table import MovieGroup, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from cryorepro_datasets.movie_twin_parameters import MovieTwinParameters

MOVIES, DEFECTS, MANIFEST = "movies.star", "defects.txt", "twin.json"


def write_movie(path: Path, counts: Counts, pixel_size_angstrom: float) -> None:
    """Write counts [frames, rows, columns] as TIFF or MRC, by the name.

    Row 0 of ``counts`` is the first row of an MRC file and the last of a TIFF picture: RELION, MotionCor2 and
    CryoSPARC turn TIFF upside down when they read it.
    """
    if path.suffix == ".mrc":
        write_movie_mrc(path, counts.astype(np.int8), 0, pixel_size_angstrom)
    else:
        write_movie_tiff(path, np.ascontiguousarray(counts[:, ::-1]), "lzw")


def write_inputs(
    directory: Path,
    group: MovieGroup,
    gain_name: str,
    parameters: MovieTwinParameters,
    detector: Detector,
    movies: list[str],
) -> dict[str, Path]:
    """Write list, gain and defects; the paths of all files by role, every movie's among them."""
    files = {"movies": directory / MOVIES, "gain": directory / gain_name, "defects": directory / DEFECTS}
    names = sorted(f"movies/{name}" for name in movies)
    write_movie_table(files["movies"], names, group)
    # upside down, as the deposit's: flip_gain_y sets it right
    write_stack(files["gain"], detector.gain[None, ::-1], parameters.pixel_size_angstrom)
    files["defects"].write_text("".join(f"{x} {y} {w} {h}\n" for x, y, w, h in detector.defects), encoding="ascii")
    files["manifest"] = directory / MANIFEST
    files["manifest"].write_text(json.dumps(parameters.recorded(), indent=1) + "\n", encoding="utf-8")
    return files | {f"movie_{number:03d}": directory / name for number, name in enumerate(names, start=1)}
