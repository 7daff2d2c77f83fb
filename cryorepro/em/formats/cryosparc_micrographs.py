"""Micrographs, movies and picks of a CryoSPARC table as RELION 3.1 tables, and the way back.

A table is one of fields by RELION label; each label has one field, and that one number is in RELION's unit there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import UID, CsTable
from cryorepro.em.formats.cryosparc_particles import SHAPE_LABELS, UID_LABEL, degrees, exposure_group, place_columns
from cryorepro.em.formats.optics import check_range
from cryorepro.em.formats.star import StarBlock, format_values

Columns = dict[str, NDArray[Any]]
_CTF = {
    "rlnDefocusU": "ctf/df1_A",
    "rlnDefocusV": "ctf/df2_A",
    "rlnDefocusAngle": "ctf/df_angle_rad",
    "rlnPhaseShift": "ctf/phase_shift_rad",
    "rlnCtfFigureOfMerit": "ctf/cross_corr_ctffind4",
    "rlnCtfMaxResolution": "ctf/ctf_fit_to_A",
}
_PICKS = {
    "rlnAutopickFigureOfMerit": "pick_stats/ncc_score",
    "cryoreproLocalPower": "pick_stats/power",
    "rlnAnglePsi": "pick_stats/angle_rad",
}
ASSUMED_AMPLITUDE_CONTRAST = 0.1
"""Before CTF estimation no table says it, and an optics table must."""
_DEGREES = ("rlnDefocusAngle", "rlnPhaseShift", "rlnAnglePsi")


@dataclass(frozen=True)
class Exposures:
    """What micrographs and movies differ in: the block, its name's and pixel's labels, and the fields' group."""

    block: str
    name_label: str
    pixel_label: str
    group: str


MICROGRAPHS = Exposures("micrographs", "rlnMicrographName", "rlnMicrographPixelSize", "micrograph_blob")
MOVIES = Exposures("movies", "rlnMicrographMovieName", "rlnMicrographOriginalPixelSize", "movie_blob")


def exposure_blocks(table: CsTable, kind: Exposures) -> list[StarBlock]:
    """``data_optics`` and ``data_micrographs`` (or ``data_movies``).

    Raises:
        InputError: a field is missing, not finite or out of range.
    """
    columns: Columns = {kind.name_label: _texts(table, f"{kind.group}/path")}
    optics, columns["rlnOpticsGroup"] = _optics(table, kind)
    if kind is MICROGRAPHS:
        columns |= _numbers(table, _CTF)
    if UID in table:
        columns[UID_LABEL] = np.array([str(uid) for uid in table.column(UID).tolist()], dtype=object)
    return [optics, _block(kind.block, columns)]


def pick_blocks(table: CsTable) -> list[StarBlock]:
    """Coordinates of picks in all micrographs, one ``data_particles``."""
    columns = place_columns(table)
    if "rlnCoordinateX" not in columns:
        raise InputError(f"{table.source}: field location/center_x_frac is missing; there is no pick in it.")
    columns |= _numbers(table, _PICKS)
    if UID in table:
        columns[UID_LABEL] = np.array([str(uid) for uid in table.column(UID).tolist()], dtype=object)
    return [_block("particles", columns)]


def _block(name: str, columns: Columns) -> StarBlock:
    return StarBlock(name, {label: format_values(values) for label, values in columns.items()})


def _texts(table: CsTable, field: str) -> NDArray[Any]:
    return np.array([text.removeprefix(">") for text in table.texts(field)], dtype=object)


def _numbers(table: CsTable, fields: Mapping[str, str]) -> Columns:
    found = {label: table.numbers(field) for label, field in fields.items() if field in table}
    return {label: degrees(values) if label in _DEGREES else values for label, values in found.items()}


def _optics(table: CsTable, kind: Exposures) -> tuple[StarBlock, NDArray[np.int64]]:
    microscope = {
        "rlnVoltage": ("ctf/accel_kv", "mscope_params/accel_kv"),
        "rlnSphericalAberration": ("ctf/cs_mm", "mscope_params/cs_mm"),
        "rlnAmplitudeContrast": ("ctf/amp_contrast",),
    }
    conditions = [_first(table, ("ctf/exp_group_id", "mscope_params/exp_group_id"), 0.0)]
    labels = []
    for label, fields in microscope.items():
        default = ASSUMED_AMPLITUDE_CONTRAST if label == "rlnAmplitudeContrast" else None
        conditions.append(_first(table, fields, default))
        labels.append(label)
    conditions.append(table.numbers(f"{kind.group}/psize_A"))
    distinct, inverse = np.unique(np.stack(conditions, axis=1), axis=0, return_inverse=True)
    columns: dict[str, list[str]] = {"rlnOpticsGroupName": [], "rlnOpticsGroup": []}
    columns |= {label: [] for label in (*labels, kind.pixel_label)}
    for number, row in enumerate(distinct, start=1):
        columns["rlnOpticsGroupName"].append(f"exp_group_{int(row[0])}_{number}")
        columns["rlnOpticsGroup"].append(str(number))
        for label, value in zip((*labels, kind.pixel_label), row[1:], strict=True):
            limits = "rlnImagePixelSize" if label == kind.pixel_label else label
            columns[label].append(
                repr(check_range(float(value), limits, f"{table.source}: {label}", f"group {number}"))
            )
    return StarBlock("optics", columns), inverse.reshape(-1).astype(np.int64) + 1


def _first(table: CsTable, fields: tuple[str, ...], default: float | None) -> NDArray[np.float64]:
    """The first of these fields that is there."""
    for field in fields:
        if field in table:
            return table.numbers(field)
    if default is None:
        return table.numbers(fields[0])
    return np.full(len(table), default)


def exposures_to_cs(blocks: Mapping[str, StarBlock], kind: Exposures, uids: NDArray[np.uint64]) -> Columns:
    """The way back for micrographs and movies.

    Raises:
        InputError: a column is missing, not a number or out of range.
    """
    if "optics" not in blocks:
        raise InputError(f"{blocks[kind.block].source}: a table data_optics is missing.")
    optics, rows = blocks["optics"], blocks[kind.block]
    position = {number: k for k, number in enumerate(optics.integers("rlnOpticsGroup").tolist())}
    numbers = rows.integers("rlnOpticsGroup").tolist()
    if set(numbers) - set(position):
        raise InputError(f"{rows.source}: rlnOpticsGroup {min(set(numbers) - set(position))} is not in data_optics.")
    index = np.array([position[number] for number in numbers], dtype=np.int64)
    columns: Columns = {
        UID: uids,
        f"{kind.group}/path": np.array(rows.text(kind.name_label), dtype=object),
        f"{kind.group}/psize_A": optics.numbers(kind.pixel_label)[index].astype(np.float32),
    }
    for label, field in (("rlnVoltage", "accel_kv"), ("rlnSphericalAberration", "cs_mm")):
        columns[f"mscope_params/{field}"] = optics.numbers(label)[index].astype(np.float32)
    groups = [exposure_group(name, 0) for name in optics.text("rlnOpticsGroupName")]
    columns["mscope_params/exp_group_id"] = np.array(groups, dtype=np.uint32)[index]
    if kind is MICROGRAPHS and "rlnDefocusU" in rows.columns:
        columns |= _back(rows, _CTF)
        columns["ctf/accel_kv"], columns["ctf/cs_mm"] = (
            columns["mscope_params/accel_kv"],
            columns["mscope_params/cs_mm"],
        )
        columns["ctf/amp_contrast"] = optics.numbers("rlnAmplitudeContrast")[index].astype(np.float32)
    return columns


def picks_to_cs(rows: StarBlock, uids: NDArray[np.uint64]) -> Columns:
    """The way back for picks; the micrographs' shape must have come with them."""
    width, height = (rows.numbers(label) for label in SHAPE_LABELS)
    if not ((width >= 1).all() and (height >= 1).all()):
        raise InputError(f"{rows.source}: {SHAPE_LABELS[0]} or {SHAPE_LABELS[1]} is not a size in pixels.")
    return {
        UID: uids,
        "location/micrograph_path": np.array(rows.text("rlnMicrographName"), dtype=object),
        "location/micrograph_shape": np.stack([height, width], axis=1).astype(np.uint32),
        "location/center_x_frac": (rows.numbers("rlnCoordinateX") / width).astype(np.float32),
        "location/center_y_frac": (rows.numbers("rlnCoordinateY") / height).astype(np.float32),
        **_back(rows, _PICKS),
    }


def _back(rows: StarBlock, fields: Mapping[str, str]) -> Columns:
    found = {label: rows.numbers(label) for label in fields if label in rows.columns}
    return {
        fields[label]: (np.deg2rad(values) if label in _DEGREES else values).astype(np.float32)
        for label, values in found.items()
    }
