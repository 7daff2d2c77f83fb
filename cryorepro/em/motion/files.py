"""The files that motion correction leaves: sums, trajectories as RELION reads them, the list of micrographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, readable
from cryorepro.em.formats.star import StarBlock, Value, make_block, read_star, write_star
from cryorepro.em.motion.trajectory import Trajectory
from cryorepro.em.movies.checking import SET_ASIDE
from cryorepro.em.movies.table import MovieTable

if TYPE_CHECKING:  # the inspection of a finished job needs no torch
    from cryorepro.em.motion.correct import CorrectedMovie

MICROGRAPHS, FOLDER = "corrected_micrographs.star", "micrographs"
_MOTION = ("rlnAccumMotionTotal", "rlnAccumMotionEarly", "rlnAccumMotionLate")
_NOTES = 20


@dataclass(frozen=True)
class MovieFacts:
    """What a movie's own STAR file says besides its trajectory.

    Attributes:
        movie_name: as in the list of movies.
        gain_name: of the gain reference, or None.
        pixel_size_angstrom: of the movie's frames.
        binned: how many times fewer pixels per side the sums have.
        voltage_kv: acceleration voltage.
        dose_per_frame: mean exposure of a frame in e/A^2; 0 where it is not known.
        pre_exposure: before the movie, in e/A^2.
    """

    movie_name: str
    gain_name: str | None
    pixel_size_angstrom: float
    binned: float
    voltage_kv: float
    dose_per_frame: float
    pre_exposure: float


def write_movie(directory: Path, found: CorrectedMovie, facts: MovieFacts) -> list[str]:
    """Write sums, background and trajectory of a movie below ``directory``; returns their names there.

    The first is the sum to go on with (the weighted one where there is one), the second its STAR file.
    """
    stem = f"{FOLDER}/{Path(facts.movie_name).stem}"
    pixel = facts.pixel_size_angstrom * facts.binned
    names = [f"{stem}.mrc", f"{stem}.star", f"{stem}_background.mrc"]
    (directory / FOLDER).mkdir(parents=True, exist_ok=True)
    best = found.weighted if found.weighted is not None else found.unweighted
    if best is None:
        raise InputError(f"{facts.movie_name}: there is no sum to be written.")
    write_map(directory / names[0], best[None], pixel)
    if found.weighted is not None and found.unweighted is not None:
        names.append(f"{stem}_noDW.mrc")
        write_map(directory / names[-1], found.unweighted[None], pixel)
    write_map(directory / names[2], found.background[None], pixel * found.background_step_px)
    write_trajectory(directory / names[1], found, facts)
    return names


def write_trajectory(path: Path, found: CorrectedMovie, facts: MovieFacts) -> None:
    """Write a trajectory in the form of RELION 3.1: shifts in pixels of the movie, frames counted from 1."""
    moved = found.trajectory
    general: dict[str, list[Value]] = {
        "rlnImageSizeX": [moved.width_px],
        "rlnImageSizeY": [moved.height_px],
        "rlnImageSizeZ": [moved.frames],
        "rlnMicrographMovieName": [facts.movie_name],
    }
    if facts.gain_name is not None:
        general["rlnMicrographGainName"] = [facts.gain_name]
    general |= {
        "rlnMicrographBinning": [float(facts.binned)],
        "rlnMicrographOriginalPixelSize": [facts.pixel_size_angstrom],
        "rlnMicrographDoseRate": [facts.dose_per_frame],
        "rlnMicrographPreExposure": [facts.pre_exposure],
        "rlnVoltage": [facts.voltage_kv],
        "rlnMicrographStartFrame": [1],
        "rlnMotionModelVersion": [1 if moved.is_local else 0],
    }
    shifts: dict[str, Sequence[Value]] = {
        "rlnMicrographFrameNumber": list(range(1, moved.frames + 1)),
        "rlnMicrographShiftX": moved.whole_px[:, 0].tolist(),
        "rlnMicrographShiftY": moved.whole_px[:, 1].tolist(),
    }
    blocks = [make_block("general", general, is_loop=False), make_block("global_shift", shifts)]
    if moved.is_local:
        values = moved.coefficients.ravel().tolist()
        model: dict[str, Sequence[Value]] = {
            "rlnMotionModelCoeffsIdx": list(range(len(values))),
            "rlnMotionModelCoeff": values,
        }
        blocks.append(make_block("local_motion_model", model))
    if len(found.bad_pixels):
        places = found.bad_pixels.astype(float)
        hot = {"rlnCoordinateX": places[:, 0].tolist(), "rlnCoordinateY": places[:, 1].tolist()}
        blocks.append(make_block("hot_pixels", hot))
    write_star(path, blocks)


def read_trajectory(path: Path) -> Trajectory:
    """Read a trajectory that this program or RELION wrote.

    Raises:
        InputError: a table is missing or malformed, or the model is one that is not known.
    """
    blocks = read_star(path)
    if "general" not in blocks or "global_shift" not in blocks:
        raise InputError(f"{path}: a table data_general or data_global_shift is missing.")
    general, shifts = blocks["general"], blocks["global_shift"]
    height, width, frames = (int(general.integers(f"rlnImageSize{axis}")[0]) for axis in "YXZ")
    whole = np.stack([shifts.numbers("rlnMicrographShiftX"), shifts.numbers("rlnMicrographShiftY")], axis=1)
    if len(whole) != frames or not np.isfinite(whole).all():
        raise InputError(f"{path}: {len(whole)} shifts that are numbers are wanted for {frames} frames.")
    coefficients = np.zeros((2, 18))
    if "local_motion_model" in blocks:
        values = blocks["local_motion_model"].numbers("rlnMotionModelCoeff")
        if values.size != coefficients.size or not np.isfinite(values).all():
            raise InputError(f"{path}: rlnMotionModelCoeff has {values.size} values, not 36 numbers.")
        coefficients = values.reshape(2, 18)
    return Trajectory(whole, coefficients, height, width)


def write_micrographs(
    directory: Path, table: MovieTable, rows: Mapping[int, Mapping[str, Value]], pixel_sizes: Mapping[int, float]
) -> None:
    """Write the list of corrected micrographs.

    Args:
        directory: of the job.
        table: the movies.
        rows: what is new of each movie that was corrected, by label.
        pixel_sizes: of the sums in Angstrom, by the number of the optics group.
    """
    order = sorted(rows)
    columns: dict[str, list[Value]] = {label: [rows[row][label] for row in order] for label in rows[order[0]]}
    groups = table.rows.columns.get("rlnOpticsGroup", ["1"] * len(table.names))
    columns["rlnOpticsGroup"] = [groups[row] for row in order]
    optics: dict[str, list[Value]] = {label: [*values] for label, values in table.optics.columns.items()}
    numbers = table.optics.integers("rlnOpticsGroup").tolist()
    optics["rlnMicrographPixelSize"] = [pixel_sizes[number] for number in numbers]
    write_star(directory / MICROGRAPHS, [make_block("optics", optics), make_block("micrographs", columns)])


def inspect_motion_correction(directory: Path, table: MovieTable, listed: str = MICROGRAPHS) -> JobReport:
    """Check that every movie was corrected or set aside, once, and that sums and trajectories are there.

    Args:
        directory: of the job; the names in its lists are relative to it.
        table: the movies.
        listed: the list of micrographs.

    Raises:
        IncompleteJob: a file is missing, malformed, or says otherwise.
    """
    blocks = readable(read_star, directory / listed)
    if "micrographs" not in blocks or "optics" not in blocks:
        raise IncompleteJob(f"{listed}: a table data_optics or data_micrographs is missing")
    aside = readable(read_star, directory / SET_ASIDE).get("set_aside", StarBlock("set_aside", {}))
    try:
        found = blocks["micrographs"]
        names, metadata = found.text("rlnMicrographName"), found.text("rlnMicrographMetadata")
        motion = {label: found.numbers(label) for label in _MOTION}
        left, reasons = aside.text("rlnMicrographMovieName"), aside.text("cryoreproReason")
    except InputError as error:
        raise IncompleteJob(str(error).removesuffix(".")) from error
    if sorted(map(_stem, [*names, *left])) != sorted(map(_stem, table.names)):
        raise IncompleteJob(f"{listed}: not every movie was corrected or set aside, once")
    if not names or not all(np.isfinite(column).all() and (column >= 0).all() for column in motion.values()):
        raise IncompleteJob(f"{listed}: a motion is not a finite length")
    shapes = {readable(read_mrc_header, directory / name).shape for name in names}
    if len(shapes) != 1:
        raise IncompleteJob(f"{listed}: micrographs of several sizes")
    for name in metadata:
        readable(read_trajectory, directory / name)
    return JobReport(
        outputs={"micrographs": Path(listed), "set_aside": Path(SET_ASIDE)},
        rows={"micrographs": len(names), "set_aside": len(left)},
        numbers={
            "median_motion_angstrom": float(np.median(motion["rlnAccumMotionTotal"])),
            "movies_set_aside": float(len(left)),
        },
        notes=_notes(left, reasons),
    )


def _stem(name: str) -> str:
    """What a movie and its micrograph have in common; RELION has no dots in the names of micrographs."""
    return Path(name).stem.replace(".", "_")


def _notes(names: Sequence[str], reasons: Sequence[str]) -> list[str]:
    said = [f"set aside: {name} ({reason})" for name, reason in zip(names, reasons, strict=True)]
    return [*said[:_NOTES], f"set aside: {len(said) - _NOTES} more"] if len(said) > _NOTES else said
