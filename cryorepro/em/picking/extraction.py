"""Particles cut out of micrographs at their picks: whole boxes only, each with the defocus of its own place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryorepro.em.ctf_estimation_files import MicrographTable
from cryorepro.em.errors import InputError
from cryorepro.em.formats.optics import OpticsGroup, read_optics
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.tables import PickTable, stem_of
from cryorepro.em.reextraction import Cutting, cut

Floats = NDArray[np.float64]
STACKS = "particles"
REASONS = ("edge", "duplicate", "flat")
_CTF_LABELS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_CARRIED = ("rlnPhaseShift", "rlnCtfFigureOfMerit", "rlnCtfMaxResolution", "rlnCtfBfactor", "rlnCtfScalefactor")


@dataclass(frozen=True)
class Plane:
    """Mean defocus in Angstrom at a micrograph's middle, and its slope per pixel along x and y."""

    middle_angstrom: float
    along_x: float
    along_y: float

    def at(self, places_px: Floats, shape: tuple[int, int]) -> Floats:
        """Mean defocus at places ``[n, 2]`` (x, y) of a micrograph of this shape (rows, columns)."""
        away = places_px - np.array([shape[1] / 2.0, shape[0] / 2.0])
        return np.asarray(self.middle_angstrom + away @ np.array([self.along_x, self.along_y]))


@dataclass(frozen=True)
class Cut:
    """Particles of one micrograph: images ``[n, box, box]``, their picks, how many were dropped and why."""

    images: NDArray[np.float32]
    picks: Picks
    dropped: Mapping[str, int]
    shape: tuple[int, int]


def cut_particles(micrograph: Floats, picks: Picks, cutting: Cutting, within_px: float | None) -> Cut:
    """Cut the boxes that lie wholly in ``micrograph [rows, columns]``, centred on the pixels nearest to the picks.

    Of picks nearer than ``within_px`` the first stays. A box with a flat background is dropped.
    """
    whole = np.rint(picks.at_px)
    half = cutting.box_px // 2
    size = np.array([micrograph.shape[1], micrograph.shape[0]])
    inside = ((whole >= half) & (whole + half <= size)).all(axis=1)
    rows = np.flatnonzero(inside)
    alone = rows if within_px is None else rows[_first_of_near(picks.at_px[rows], within_px)]
    images, kept = [], []
    for row in alone:
        x, y = (int(value) for value in whole[row])
        try:
            images.append(cutting.finished(cut(micrograph, x, y, cutting.box_px)))
        except ValueError:
            continue
        kept.append(row)
    box = cutting.rescaled_box_px
    dropped = (len(picks) - len(rows), len(rows) - len(alone), len(alone) - len(kept))
    stack = np.stack(images) if images else np.empty((0, box, box), dtype=np.float32)
    chosen = replace(picks, at_px=whole).subset(np.array(kept, dtype=np.int64))
    return Cut(stack, chosen, dict(zip(REASONS, dropped, strict=True)), (micrograph.shape[0], micrograph.shape[1]))


def _first_of_near(at: Floats, within: float) -> NDArray[np.int64]:
    keep = np.ones(len(at), dtype=bool)
    for first, second in sorted(cKDTree(at).query_pairs(within)) if len(at) else []:
        if keep[first]:
            keep[second] = False
    return np.flatnonzero(keep)


def picks_by_row(table: MicrographTable, picks: PickTable) -> dict[int, Picks]:
    """Picks by the row of their micrograph, found by its file's name; micrographs without picks are left out.

    Raises:
        InputError: micrographs of one file name are listed twice, or none of the picks' micrographs is listed.
    """
    rows: dict[str, int] = {}
    for row, name in enumerate(table.names):
        if rows.setdefault(stem_of(name), row) != row:
            raise InputError(f"{table.source}: rlnMicrographName {name}: two micrographs have this file name.")
    found = {rows[stem_of(name)]: part for name, part in zip(picks.names, picks.picks, strict=True)
             if stem_of(name) in rows and len(part)}  # fmt: skip
    if not found:
        raise InputError(f"{picks.source}: no pick lies in a micrograph of {table.source}.")
    return found


def particle_table(
    table: MicrographTable, cuts: Mapping[int, Cut], planes: Mapping[str, Plane], cutting: Cutting
) -> Particles:
    """The table of all particles, micrograph by micrograph; images are ``N@particles/NAME.mrcs``.

    The mean of U and V is the plane's at the particle's place where the micrograph has one; astigmatism is its own.

    Raises:
        InputError: the micrographs have no CTF.
    """
    missing = [label for label in _CTF_LABELS if label not in table.rows.columns]
    if missing:
        raise InputError(f"{table.source}: column {missing[0]} is missing; particles need their micrograph's CTF.")
    groups = _optics(table, cutting)
    numbers = table.rows.integers("rlnOpticsGroup") if "rlnOpticsGroup" in table.rows.columns else None
    known = {label: table.rows.numbers(label) for label in (*_CTF_LABELS, *_CARRIED) if label in table.rows.columns}
    parts: dict[str, list[NDArray[np.generic]]] = {}
    for row, found in cuts.items():
        count = len(found.picks)
        name = table.names[row]
        columns = _columns(found, name)
        columns |= {label: np.full(count, values[row]) for label, values in known.items()}
        columns["rlnOpticsGroup"] = np.full(count, groups[0].group if numbers is None else numbers[row])
        if name in planes:
            mean = planes[name].at(found.picks.at_px, found.shape)
            half = 0.5 * (known["rlnDefocusU"][row] - known["rlnDefocusV"][row])
            columns |= {"rlnDefocusU": mean + half, "rlnDefocusV": mean - half}
        for label, values in columns.items():
            parts.setdefault(label, []).append(values)
    return Particles(groups, {label: np.concatenate(values) for label, values in parts.items()}, str(table.source))


def _columns(found: Cut, name: str) -> dict[str, NDArray[np.generic]]:
    count, picks = len(found.picks), found.picks
    images = [f"{number + 1:06d}@{STACKS}/{stem_of(name)}.mrcs" for number in range(count)]
    columns: dict[str, NDArray[np.generic]] = {
        "rlnImageName": np.array(images, dtype=object),
        "rlnMicrographName": np.array([name] * count, dtype=object),
        "rlnCoordinateX": picks.at_px[:, 0],
        "rlnCoordinateY": picks.at_px[:, 1],
    }
    scores = {"rlnAutopickFigureOfMerit": picks.ncc, "cryoreproLocalPower": picks.power}
    return columns | {label: np.nan_to_num(values, nan=-999.0) for label, values in scores.items()}


def _optics(table: MicrographTable, cutting: Cutting) -> tuple[OpticsGroup, ...]:
    sizes = table.optics.numbers("rlnMicrographPixelSize") * cutting.box_px / cutting.rescaled_box_px
    columns = dict(table.optics.columns) | {"rlnImagePixelSize": [f"{size:.8g}" for size in sizes]}
    columns.pop("rlnImageSize", None)
    groups = read_optics(StarBlock("optics", columns, source=str(table.source)))
    return tuple(group.with_box(cutting.rescaled_box_px) for group in groups)


def read_planes(path: Path) -> dict[str, Plane]:
    """Planes of local defocus by micrograph (``local_defocus.star`` of CTF estimation).

    Raises:
        InputError: the file is malformed or a value is not finite.
    """
    blocks = read_star(path)
    if "local_defocus" not in blocks:
        raise InputError(f"{path}: the table data_local_defocus is missing.")
    block = blocks["local_defocus"]
    labels = ("cryoreproDefocusMiddle", "cryoreproDefocusGradientX", "cryoreproDefocusGradientY")
    values = np.stack([block.numbers(label) for label in labels], axis=1)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: a plane of local defocus is not finite.")
    return {name: Plane(*row) for name, row in zip(block.text("rlnMicrographName"), values.tolist(), strict=True)}


def used_optics(particles: Particles) -> Particles:
    """The same particles, optics groups without any left out."""
    return particles.subset(np.arange(len(particles)))


def dropped_columns(table: MicrographTable, cuts: Mapping[int, Cut], rows: Sequence[int]) -> dict[str, list[str | int]]:
    """What became of the picks of every micrograph, as columns of a table."""
    columns: dict[str, list[str | int]] = {
        "rlnMicrographName": [table.names[row] for row in rows],
        "cryoreproExtracted": [len(cuts[row].picks) for row in rows],
    }
    labels = {
        "edge": "cryoreproDroppedAtEdge",
        "duplicate": "cryoreproDroppedAsDuplicate",
        "flat": "cryoreproDroppedFlat",
    }
    for reason, label in labels.items():
        columns[label] = [cuts[row].dropped[reason] for row in rows]
    return columns
