"""Picks as RELION keeps them: one STAR file per micrograph, and ``autopick.star`` that lists them all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import StarBlock, make_block, read_star, write_star
from cryorepro.em.picking.picks import Picks

AUTOPICK, FOLDER, SUFFIX = "autopick.star", "micrographs", "_autopick.star"
LIST_BLOCK = "coordinate_files"
_LIST_LABELS = ("rlnMicrographName", "rlnMicrographCoordinates")
_PARENTS_TRIED = 4
_UNKNOWN = -999.0


@dataclass(frozen=True)
class PickTable:
    """Picks of several micrographs: their names, no name twice, and the picks of each."""

    source: Path
    names: tuple[str, ...]
    picks: tuple[Picks, ...]

    @property
    def total(self) -> int:
        """Number of picks in all micrographs."""
        return sum(len(picks) for picks in self.picks)

    def joined(self, column: str) -> NDArray[np.float64]:
        """One column (``ncc``, ``power`` ...) over all micrographs, in their order."""
        empty = np.empty(0)
        return np.concatenate([empty, *(np.asarray(getattr(picks, column), dtype=np.float64) for picks in self.picks)])

    def split(self, values: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """A column over all micrographs, cut into one part per micrograph."""
        ends = np.cumsum([len(picks) for picks in self.picks])[:-1]
        return list(np.split(values, ends))


def stem_of(name: str) -> str:
    """What identifies a micrograph whatever its folder and format: its file's name without the last suffix."""
    return PurePosixPath(name).stem


def write_picks(directory: Path, names: Sequence[str], picks: Iterable[Picks], extra: dict[str, list[float]]) -> None:
    """Write the picks of every micrograph, and their list with further columns ``extra``.

    Raises:
        InputError: two micrographs of different folders have one name.
    """
    stems = [stem_of(name) for name in names]
    twice = next((name for row, name in enumerate(names) if stems[row] in stems[:row]), None)
    if twice is not None:
        raise InputError(
            f"rlnMicrographName {twice}: another micrograph has the same file name; picks are named by it."
        )
    (directory / FOLDER).mkdir(exist_ok=True)
    files = [f"{FOLDER}/{stem}{SUFFIX}" for stem in stems]
    for file, found in zip(files, picks, strict=True):
        write_star(directory / file, [coordinate_block(found)])
    write_list(directory, names, files, extra)


def write_list(directory: Path, names: Sequence[str], files: Sequence[str], extra: dict[str, list[float]]) -> None:
    """Write ``autopick.star``: the files of picks, relative to it, with further columns."""
    columns = dict(zip(_LIST_LABELS, (list(names), list(files)), strict=True))
    write_star(directory / AUTOPICK, [make_block(LIST_BLOCK, {**columns, **extra})])


def coordinate_block(picks: Picks) -> StarBlock:
    """The table of one micrograph's picks, nameless as RELION writes it; what is not known is RELION's -999."""
    columns = {
        "rlnCoordinateX": picks.at_px[:, 0],
        "rlnCoordinateY": picks.at_px[:, 1],
        "rlnClassNumber": picks.classes,
        "rlnAnglePsi": picks.psi_deg,
        "rlnAutopickFigureOfMerit": picks.ncc,
        "cryoreproLocalPower": picks.power,
        "cryoreproPickDiameter": picks.diameter_angstrom,
    }
    return make_block("", {label: np.nan_to_num(values, nan=_UNKNOWN) for label, values in columns.items()})


def read_picks(star: Path) -> PickTable:
    """Read ``autopick.star`` (RELION 4's, ours) with the files it lists, relative to it or to a directory above.

    A coordinate file needs only coordinates: what it lacks is not a number (NaN), classes are 0.

    Raises:
        InputError: a file is missing or malformed, a micrograph is listed twice, or a coordinate is not finite.
    """
    blocks = read_star(star)
    if LIST_BLOCK not in blocks:
        raise InputError(f"{star}: the table data_{LIST_BLOCK} is missing; this is no list of picks.")
    names, files = (blocks[LIST_BLOCK].text(label) for label in _LIST_LABELS)
    if len(set(names)) != len(names):
        raise InputError(f"{star}: rlnMicrographName lists a micrograph twice.")
    return PickTable(star, tuple(names), tuple(read_coordinates(_find(star, file)) for file in files))


def read_coordinates(path: Path) -> Picks:
    """The picks of one micrograph.

    Raises:
        InputError: the file is malformed or a coordinate is not finite.
    """
    blocks = [block for block in read_star(path).values() if "rlnCoordinateX" in block.columns]
    if not blocks:
        raise InputError(f"{path}: column rlnCoordinateX is missing; this is no table of picks.")
    return picks_of(blocks[0], path)


def picks_of(block: StarBlock, path: Path) -> Picks:
    """The picks of a table with coordinates, whatever else it holds.

    Raises:
        InputError: a coordinate is missing or not finite.
    """
    at = np.stack([block.numbers("rlnCoordinateX"), block.numbers("rlnCoordinateY")], axis=1)
    if not np.isfinite(at).all():
        raise InputError(f"{path}: rlnCoordinateX or rlnCoordinateY is not a finite number.")

    def column(label: str) -> NDArray[np.float64]:
        values = block.numbers(label) if label in block.columns else np.full(len(at), np.nan)
        return np.where(values == _UNKNOWN, np.nan, values)

    classes = block.integers("rlnClassNumber") if "rlnClassNumber" in block.columns else np.zeros(len(at), np.int64)
    return Picks(
        at,
        column("rlnAutopickFigureOfMerit"),
        column("cryoreproLocalPower"),
        column("rlnAnglePsi"),
        classes,
        column("cryoreproPickDiameter"),
    )


def _find(star: Path, name: str) -> Path:
    directory = star.absolute().parent
    for base in (directory, *directory.parents[:_PARENTS_TRIED]):
        if (base / name).is_file():
            return base / name
    raise InputError(f"{star}: rlnMicrographCoordinates {name} does not exist.")
