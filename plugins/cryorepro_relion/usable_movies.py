"""Program before RELION's motion correction: the list without movies that would end it, and a list of those.

``python -m cryorepro_relion.usable_movies MOVIES.star [--frames N]`` writes ``usable_movies.star`` and
``set_aside.star`` to the folder it runs in. Exit code 2 with one sentence where no movie can be used.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.movies.checking import SET_ASIDE, check_movies, write_set_aside
from cryorepro.em.movies.table import read_movie_table
from cryorepro_relion.motioncorrection import USABLE


def select(star: Path, directory: Path, frames: int | None) -> None:
    """Write both lists to ``directory``.

    Raises:
        InputError: the list is malformed, or no movie can be used.
    """
    table = read_movie_table(star)
    check = check_movies(table.paths, stored_frames=frames)
    columns = {label: [values[row] for row in check.usable] for label, values in table.rows.columns.items()}
    write_star(directory / USABLE, [make_block("optics", table.optics.columns), make_block("movies", columns)])
    write_set_aside(directory / SET_ASIDE, table.names, table.paths, check.aside)


def main() -> int:
    """Read the command line; the exit code."""
    parser = argparse.ArgumentParser(description="List the movies that RELION can correct.")
    parser.add_argument("movies", type=Path)
    parser.add_argument("--frames", type=int)
    options = parser.parse_args()
    try:
        select(options.movies, Path.cwd(), options.frames)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
