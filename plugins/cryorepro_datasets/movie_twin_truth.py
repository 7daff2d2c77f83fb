"""The truth about a twin of movies, as files that only the measurement of outcomes reads.

``truth_trajectories.star``
    One row per movie and frame: the drift (``cryoreproDriftX``, ``...Y``, pixels; where the specimen went, so that
    RELION's shifts, which undo it, have the other sign) and the twelve coefficients of
    the local field (``cryoreproLocalX0`` ... ``Y5``), as `cryorepro.em.movie_twin.motion` explains them.
``truth_defocus.star``
    One row per movie: ``rlnDefocusU``, ``V``, ``Angle`` in the middle, and the plane's gradient.
``truth_particles.star``
    One row per particle: where it lies in the first frame, its pose and its own defocus.
``truth_dirt.star``
    What no picker should pick.
``truth_map.mrc``, ``truth_protein.mrc``, ``truth_mask.mrc``
    The mean of all particles, the protein alone, and where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.star import Value, make_block, write_star
from cryorepro.em.movie_twin.layout import Dirt
from cryorepro.em.movie_twin.motion import TERMS, MovieMotion
from cryorepro.em.movie_twin.optics import MovieDefocus
from cryorepro.em.movie_twin.specimen import Specimen
from cryorepro.em.simulate import quantise

Floats = NDArray[np.float64]
_MAP_QUANTUM = 2.0**-30
_NAMES = {
    "trajectories": "truth_trajectories.star",
    "defocus": "truth_defocus.star",
    "particles": "truth_particles.star",
    "dirt": "truth_dirt.star",
    "map": "truth_map.mrc",
    "protein": "truth_protein.mrc",
    "mask": "truth_mask.mrc",
}


@dataclass(frozen=True)
class MovieTruth:
    """Everything about one movie.

    Attributes:
        movie: Its file's name.
        defocus, motion, dirt: Of the movie.
        positions_px: float64 [n, 2], (x, y) in the first frame.
        heights_angstrom: float64 [n], added to the defocus.
        angles_degrees: float64 [n, 3].
        belts: int64 [n], which belt each particle wears.
    """

    movie: str
    defocus: MovieDefocus
    motion: MovieMotion
    positions_px: Floats
    heights_angstrom: Floats
    angles_degrees: Floats
    belts: NDArray[np.int64]
    dirt: Dirt

    @property
    def micrograph(self) -> str:
        """The name motion correction gives it."""
        return f"micrographs/{Path(self.movie).stem}.mrc"


def truth_files(directory: Path) -> dict[str, Path]:
    """Paths of the truth by role."""
    return {role: directory / name for role, name in _NAMES.items()}


def write_truth(directory: Path, specimen: Specimen, truths: Sequence[MovieTruth]) -> None:
    """Write all of it."""
    paths = truth_files(directory)
    for role, columns in (
        ("trajectories", _trajectories), ("defocus", _defocus), ("particles", _particles), ("dirt", _dirt)
    ):  # fmt: skip
        write_star(paths[role], [make_block(role, columns(truths))])
    maps = {"map": specimen.mean_map(), "protein": specimen.protein, "mask": specimen.occupied}
    for role, volume in maps.items():
        write_map(paths[role], quantise(volume, _MAP_QUANTUM), specimen.pixel_size_angstrom)


def _trajectories(truths: Sequence[MovieTruth]) -> dict[str, list[Value]]:
    columns: dict[str, list[Value]] = {"rlnMicrographName": [], "rlnMicrographFrameNumber": []}
    parts = [np.concatenate([t.motion.drift_px, t.motion.field_px.reshape(-1, 2 * TERMS)], axis=1) for t in truths]
    for truth in truths:
        frames = len(truth.motion.drift_px)
        columns["rlnMicrographName"] += [truth.micrograph] * frames
        columns["rlnMicrographFrameNumber"] += list(range(1, frames + 1))
    labels = ["cryoreproDriftX", "cryoreproDriftY"]
    labels += [f"cryoreproLocal{axis}{term}" for axis in "XY" for term in range(TERMS)]
    numbers = np.concatenate(parts)
    return columns | {label: numbers[:, place].tolist() for place, label in enumerate(labels)}


def _defocus(truths: Sequence[MovieTruth]) -> dict[str, list[Value]]:
    found = [truth.defocus for truth in truths]
    return {
        "rlnMicrographName": [truth.micrograph for truth in truths],
        "rlnDefocusU": [d.u_angstrom for d in found],
        "rlnDefocusV": [d.v_angstrom for d in found],
        "rlnDefocusAngle": [d.angle_deg for d in found],
        "cryoreproDefocusMiddle": [round((d.u_angstrom + d.v_angstrom) / 2.0, 2) for d in found],
        "cryoreproDefocusGradientX": [d.gradient[0] for d in found],
        "cryoreproDefocusGradientY": [d.gradient[1] for d in found],
    }


def _particles(truths: Sequence[MovieTruth]) -> dict[str, list[Value]]:
    offsets = [t.defocus.offset(t.positions_px) + t.heights_angstrom for t in truths]
    each = list(zip(truths, offsets, strict=True))
    numbers = {
        "rlnCoordinateX": [t.positions_px[:, 0] for t in truths],
        "rlnCoordinateY": [t.positions_px[:, 1] for t in truths],
        "rlnAngleRot": [t.angles_degrees[:, 0] for t in truths],
        "rlnAngleTilt": [t.angles_degrees[:, 1] for t in truths],
        "rlnAnglePsi": [t.angles_degrees[:, 2] for t in truths],
        "rlnDefocusU": [np.round(t.defocus.u_angstrom + offset, 1) for t, offset in each],
        "rlnDefocusV": [np.round(t.defocus.v_angstrom + offset, 1) for t, offset in each],
        "rlnDefocusAngle": [np.full(len(t.positions_px), t.defocus.angle_deg) for t in truths],
        "cryoreproBelt": [t.belts for t in truths],
    }
    names: list[Value] = [t.micrograph for t in truths for _ in range(len(t.positions_px))]
    return {"rlnMicrographName": names} | {label: np.concatenate(parts).tolist() for label, parts in numbers.items()}


def _dirt(truths: Sequence[MovieTruth]) -> dict[str, list[Value]]:
    rows = [
        (truth.micrograph, float(x), float(y), float(radius))
        for truth in truths
        for (x, y), radius in zip(truth.dirt.centres_px, truth.dirt.radii_px, strict=True)
    ]
    labels = ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "cryoreproRadius")
    return {label: [row[place] for row in rows] for place, label in enumerate(labels)}
