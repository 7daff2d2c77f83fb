"""The tables that CTF estimation reads and leaves: RELION 3.1 micrographs, those set aside, local defocus."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.optics import imaging_conditions
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, readable
from cryorepro.em.formats.star import StarBlock, Value, make_block, read_star, write_star
from cryorepro.em.reextraction import read_micrographs

MICROGRAPHS, SET_ASIDE, LOCAL_DEFOCUS = "micrographs_ctf.star", "micrographs_set_aside.star", "local_defocus.star"
_FITTED = (
    "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnCtfAstigmatism", "rlnCtfFigureOfMerit",
    "rlnCtfMaxResolution",
)  # fmt: skip
_NOTES = 20


@dataclass(frozen=True)
class MicrographGroup:
    """Imaging conditions of one optics group: kV, mm, a fraction, Angstrom."""

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    pixel_size_angstrom: float


@dataclass(frozen=True)
class MicrographTable:
    """A RELION 3.1 list of micrographs as it was read.

    Attributes:
        source: The STAR file.
        optics: Its optics table, passed on as it is.
        rows: Its table of micrographs.
        names: ``rlnMicrographName`` of every row; no name twice.
        paths: The file of every row.
        groups: Imaging conditions of every row.
    """

    source: Path
    optics: StarBlock
    rows: StarBlock
    names: list[str]
    paths: list[Path]
    groups: list[MicrographGroup]


def read_micrograph_table(star: Path) -> MicrographTable:
    """Read micrographs and their optics.

    Raises:
        InputError: no RELION 3.1 list of micrographs, a name twice, a file missing, a value out of range, or
            micrographs of several pixel sizes.
    """
    blocks = read_star(star)
    if "optics" not in blocks or "micrographs" not in blocks:
        raise InputError(
            f"{star}: a table data_optics or data_micrographs is missing; RELION 3.1 or later writes both."
        )
    optics, rows = blocks["optics"], blocks["micrographs"]
    names = rows.text("rlnMicrographName")
    if not names:
        raise InputError(f"{star}: rlnMicrographName lists no micrograph.")
    if len(set(names)) != len(names):
        raise InputError(f"{star}: rlnMicrographName lists a micrograph twice.")
    paths = read_micrographs(star).paths
    known = _groups(optics)
    numbers = rows.integers("rlnOpticsGroup").tolist() if "rlnOpticsGroup" in rows.columns else [1] * len(names)
    for number in sorted(set(numbers) - set(known)):
        raise InputError(f"{star}: rlnOpticsGroup {number} is not in data_optics.")
    return MicrographTable(star, optics, rows, names, [paths[name] for name in names], [known[n] for n in numbers])


def _groups(optics: StarBlock) -> dict[int, MicrographGroup]:
    known = imaging_conditions(optics, "rlnMicrographPixelSize")
    return {number: MicrographGroup(*values) for number, values in known.items()}


def write_fitted(directory: Path, table: MicrographTable, fitted: Mapping[int, Mapping[str, Value]]) -> None:
    """Write the rows of ``fitted`` (values by label, of every row alike) with all they had before."""
    rows = sorted(fitted)
    columns: dict[str, list[Value]] = {
        label: [values[row] for row in rows] for label, values in table.rows.columns.items()
    }
    for label in fitted[rows[0]]:
        columns[label] = [fitted[row][label] for row in rows]
    optics = StarBlock("optics", table.optics.columns)
    write_star(directory / MICROGRAPHS, [optics, make_block("micrographs", columns)])


def write_set_aside(directory: Path, table: MicrographTable, faults: Mapping[int, str]) -> None:
    """Write which micrographs were set aside, and the names of their faults; files by name, not by folder."""
    rows = sorted(faults)
    columns = {
        "rlnMicrographName": [table.names[row] for row in rows],
        "cryoreproFault": [faults[row].replace(str(table.paths[row]), table.paths[row].name) for row in rows],
    }
    write_star(directory / SET_ASIDE, [make_block("set_aside", columns)])


def write_local_defocus(directory: Path, names: Sequence[str], planes: Sequence[tuple[float, float, float]]) -> None:
    """Write planes of defocus: Angstrom at the micrograph's middle, and Angstrom per pixel along x and y."""
    labels = ("cryoreproDefocusMiddle", "cryoreproDefocusGradientX", "cryoreproDefocusGradientY")
    columns: dict[str, list[Value]] = {"rlnMicrographName": list(names)}
    for place, label in enumerate(labels):
        columns[label] = [plane[place] for plane in planes]
    write_star(directory / LOCAL_DEFOCUS, [make_block("local_defocus", columns)])


def inspect_ctf_estimation(directory: Path, table: MicrographTable) -> JobReport:
    """Check that every micrograph was fitted or set aside, once, and that the fits are numbers that make sense.

    Raises:
        IncompleteJob: a file is missing, malformed, or says otherwise.
    """
    blocks = readable(read_star, directory / MICROGRAPHS)
    if "micrographs" not in blocks or "optics" not in blocks:
        raise IncompleteJob(f"{MICROGRAPHS}: a table data_optics or data_micrographs is missing")
    found = blocks["micrographs"]
    aside = readable(read_star, directory / SET_ASIDE).get("set_aside", StarBlock("set_aside", {}))
    try:
        values = {label: found.numbers(label) for label in _FITTED}
        names = found.text("rlnMicrographName")
        left, reasons = aside.text("rlnMicrographName"), aside.text("cryoreproFault")
    except InputError as error:
        raise IncompleteJob(str(error).removesuffix(".")) from error
    if sorted([*names, *left]) != sorted(table.names):
        raise IncompleteJob(f"{MICROGRAPHS}: not every micrograph was fitted or set aside, once")
    u, v, resolution = values["rlnDefocusU"], values["rlnDefocusV"], values["rlnCtfMaxResolution"]
    finite = all(np.isfinite(column).all() for column in values.values())
    if not (names and finite and (u >= v).all() and (resolution > 0).all()):
        raise IncompleteJob(f"{MICROGRAPHS}: a fit is not a finite defocus with U >= V and a positive resolution")
    link_micrographs(directory, table)
    noted = [f"set aside: {name} ({reason})" for name, reason in zip(left, reasons, strict=True)]
    noted = [*noted[:_NOTES], f"set aside: {len(noted) - _NOTES} more"] if len(noted) > _NOTES else noted
    return JobReport(
        outputs={
            "micrographs": Path(MICROGRAPHS),
            "set_aside": Path(SET_ASIDE),
            "local_defocus": Path(LOCAL_DEFOCUS),
        },
        rows={"micrographs": len(names), "set_aside": len(left)},
        numbers={
            "median_defocus_angstrom": float(np.median(0.5 * (u + v))),
            "median_ctf_resolution_angstrom": float(np.median(resolution)),
            "micrographs_set_aside": float(len(left)),
        },
        notes=noted,
    )


def link_micrographs(directory: Path, table: MicrographTable) -> None:
    """Make relative names readable from ``directory``: a link to the first part of each, where there is none."""
    for name, path in zip(table.names, table.paths, strict=True):
        parts = PurePosixPath(name).parts
        if parts[0] in ("/", "..", ".") or (directory / name).exists():
            continue
        link, target = directory / parts[0], path
        for _ in parts[1:]:
            target = target.parent
        if not link.exists():
            link.unlink(missing_ok=True)  # a dangling link of an earlier attempt
            link.symlink_to(os.path.relpath(target, directory))
