"""The truth about a twin of movies as metrics ask for it, and a stage's tables beside it, by micrograph.

A micrograph is known by its file's name without folder and last suffix, whatever program wrote it.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.movie_twin.motion import TERMS, MovieMotion
from cryorepro.plugins.interfaces import MetricContext

Floats = NDArray[np.float64]
_PARENTS_SEARCHED = 4


def stem_of(name: str) -> str:
    """What identifies a micrograph; RELION writes an underscore for every dot in the names of its micrographs."""
    return PurePosixPath(name).stem.replace(".", "_")


def truth_table(context: MetricContext, role: str) -> StarBlock:
    """A table of the truth.  Raises InputError if the data have none."""
    if role not in context.truth:
        raise InputError(f"the data have no true {role}: only twins of movies do")
    blocks = read_star(context.truth[role])
    if role not in blocks:
        raise InputError(f"{context.truth[role].name}: the table data_{role} is missing")
    return blocks[role]


def stage_table(context: MetricContext, role: str, block: str) -> StarBlock:
    """A table that the stage wrote.  Raises InputError if it did not."""
    if role not in context.artifacts:
        raise InputError(f"the stage wrote no {role}")
    blocks = read_star(context.artifacts[role])
    if block not in blocks:
        raise InputError(f"{context.artifacts[role].name}: the table data_{block} is missing")
    return blocks[block]


def rows_by_stem(table: StarBlock) -> dict[str, NDArray[np.int64]]:
    """Rows of a table by micrograph, in their order."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table.text("rlnMicrographName")):
        rows.setdefault(stem_of(name), []).append(row)
    return {stem: np.asarray(found, dtype=np.int64) for stem, found in rows.items()}


def true_motions(table: StarBlock, shape: tuple[int, int]) -> dict[str, MovieMotion]:
    """The true motion of every movie of frames of ``shape`` (rows, columns), from the table of trajectories."""
    numbers = table.integers("rlnMicrographFrameNumber")
    drift = np.stack([table.numbers(f"cryoreproDrift{axis}") for axis in "XY"], axis=1)
    field = np.array([[table.numbers(f"cryoreproLocal{axis}{term}") for term in range(TERMS)] for axis in "XY"])
    found = {}
    for stem, rows in rows_by_stem(table).items():
        ordered = rows[np.argsort(numbers[rows])]
        found[stem] = MovieMotion(shape, drift[ordered], field[:, :, ordered].transpose(2, 0, 1))
    return found


def beside(star: Path, name: str) -> Path:
    """A file that a table names, relative to it or to a directory up to four above.

    Raises:
        InputError: it is in none of them.
    """
    directory = star.absolute().parent
    for base in (directory, *directory.parents[:_PARENTS_SEARCHED]):
        if (base / name).is_file():
            return base / name
    raise InputError(f"{star.name}: {name} does not exist")
