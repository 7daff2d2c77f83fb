"""Lists of movies: RELION 3.1 STAR files and directories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.optics import imaging_conditions
from cryorepro.em.formats.star import StarBlock, Value, make_block, read_star, write_star

_PARENTS_SEARCHED = 4


@dataclass(frozen=True)
class MovieGroup:
    """Imaging conditions of one optics group: kV, mm, a fraction, Angstrom."""

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    pixel_size_angstrom: float


@dataclass(frozen=True)
class MovieTable:
    """A RELION 3.1 list of movies as it was read.

    Attributes:
        source: The STAR file.
        optics: Its optics table, passed on as it is.
        rows: Its table of movies.
        names: ``rlnMicrographMovieName`` of every row; no name and no stem twice.
        paths: The file of every row; ``check_movies`` says which are there and of use.
        groups: Imaging conditions of every row; the pixel size is that of the movie as stored.
    """

    source: Path
    optics: StarBlock
    rows: StarBlock
    names: list[str]
    paths: list[Path]
    groups: list[MovieGroup]


def read_movie_table(star: Path | str) -> MovieTable:
    """Read a list of movies and their optics; the movies themselves are not opened.

    Raises:
        InputError: no RELION 3.1 list of movies, a name twice, two movies whose micrographs would have one name, or
            a value out of range.
    """
    star = Path(star)
    blocks = read_star(star)
    if "optics" not in blocks or "movies" not in blocks:
        raise InputError(f"{star}: a table data_optics or data_movies is missing; RELION 3.1 or later writes both.")
    optics, rows = blocks["optics"], blocks["movies"]
    names = rows.text("rlnMicrographMovieName")
    if not names:
        raise InputError(f"{star}: rlnMicrographMovieName lists no movie.")
    _check_names(star, names)
    known = _groups(optics)
    numbers = rows.integers("rlnOpticsGroup").tolist() if "rlnOpticsGroup" in rows.columns else [1] * len(names)
    for number in sorted(set(numbers) - set(known)):
        raise InputError(f"{star}: rlnOpticsGroup {number} is not in data_optics.")
    paths = [_find(star, name) for name in names]
    return MovieTable(star, optics, rows, names, paths, [known[number] for number in numbers])


def _check_names(star: Path, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        stem = Path(name).stem
        if stem in seen:
            same = seen[stem] == name
            problem = "a movie twice" if same else f"{seen[stem]} and {name}, whose micrographs share a name"
            raise InputError(f"{star}: rlnMicrographMovieName lists {problem}.")
        seen[stem] = name


def _groups(optics: StarBlock) -> dict[int, MovieGroup]:
    known = imaging_conditions(optics, "rlnMicrographOriginalPixelSize")
    return {number: MovieGroup(*values) for number, values in known.items()}


def _find(star: Path, name: str) -> Path:
    """The file, relative to the list or to a directory up to four above it; where it should be if there is none."""
    directory = star.absolute().parent
    bases = (directory, *directory.parents[:_PARENTS_SEARCHED])
    return next((base / name for base in bases if (base / name).is_file()), directory / name)


def write_movie_table(path: Path, names: Sequence[str], group: MovieGroup, group_name: str = "opticsGroup1") -> None:
    """Write a list of movies of one optics group; names are relative to the folder of ``path``."""
    optics: Mapping[str, list[Value]] = {
        "rlnOpticsGroupName": [group_name],
        "rlnOpticsGroup": [1],
        "rlnMicrographOriginalPixelSize": [group.pixel_size_angstrom],
        "rlnVoltage": [group.voltage_kv],
        "rlnSphericalAberration": [group.spherical_aberration_mm],
        "rlnAmplitudeContrast": [group.amplitude_contrast],
    }
    movies: Mapping[str, list[Value]] = {
        "rlnMicrographMovieName": list(names),
        "rlnOpticsGroup": [1] * len(names),
    }
    write_star(path, [make_block("optics", optics), make_block("movies", movies)])


def list_directory(directory: Path | str) -> list[Path]:
    """Every file of a directory by name, hidden ones apart; ``check_movies`` says which are movies.

    Raises:
        InputError: it is not a directory, or has no files.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: not a directory of movies.")
    found = sorted(path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))
    if not found:
        raise InputError(f"{directory}: the directory holds no files.")
    return found
