"""A RELION particle table as CryoSPARC's: the way back, alone or into the table that the particles came from.

With the original table each row is found by its uid and every field that RELION cannot express (weights, errors,
higher aberrations ...) is what it was there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import UID, CsTable, rows_of
from cryorepro.em.formats.cryosparc_particles import SHAPE_LABELS, UID_LABEL, exposure_group, tilt_angstrom
from cryorepro.em.formats.cryosparc_poses import angle_between_rad, euler_to_rotation_vectors
from cryorepro.em.formats.optics import IDENTITY
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.references import split_reference

Columns = dict[str, NDArray[Any]]
WHITE_PROTEIN = 1.0
SAME_ROTATION_RAD = 1e-6


def particles_to_cs(particles: Particles, like: CsTable | None = None) -> Columns:
    """Columns of a ``.cs`` file.

    Args:
        particles: The table; its images are taken to be bright on dark, as RELION needs them (``blob/sign`` 1).
        like: The table the particles came from; what RELION does not express is taken from its rows.

    Raises:
        InputError: ``like`` lacks a uid or has one twice, or a value does not fit a field.
    """
    texts = [str(text) for text in particles.columns[UID_LABEL].tolist()] if UID_LABEL in particles.columns else None
    uids = uids_of(texts, particles.image_names, particles.source)
    columns: Columns = {UID: uids} | _blob(particles) | _ctf(particles) | _location(particles) | _alignments(particles)
    if like is None:
        new = np.full(len(particles), "imported", dtype=object)
        return columns | {"ctf/type": new, "blob/sign": np.full(len(particles), WHITE_PROTEIN, dtype=np.float32)}
    rows = rows_of(like, uids, particles.source)
    kept = {name: values[rows] for name, values in like.columns.items()}
    if "alignments3D/psize_A" in columns and "alignments3D/psize_A" in kept:
        columns |= _in_pixels_of(columns, kept["alignments3D/psize_A"])
    if "alignments3D/pose" in columns and "alignments3D/pose" in kept:
        columns["alignments3D/pose"] = _unless_same(columns["alignments3D/pose"], kept["alignments3D/pose"])
    said = {name: values for name, values in columns.items() if name in kept or _says_something(values)}
    return kept | {name: _as_before(values, kept.get(name)) for name, values in said.items()}


def left_behind_by_star(particles: Particles, like: CsTable | None) -> list[str]:
    """A sentence for each thing in a RELION table that the ``.cs`` will lack."""
    notes = []
    if any(group.magnification_matrix != IDENTITY for group in particles.optics):
        notes.append("rlnMagMat is not the identity")
    for label in ("rlnOddZernike", "rlnEvenZernike"):
        if any(_says_more_than_zero(group.extra.get(label, "")) for group in particles.optics):
            notes.append(f"{label} is not zero")
    notes = [f"{text} and stays behind: its meaning in CryoSPARC's terms is not documented" for text in notes]
    placed = like is not None and "location/center_x_frac" in like
    if "rlnCoordinateX" in particles.columns and SHAPE_LABELS[0] not in particles.columns and not placed:
        notes.append(
            "coordinates stay behind: CryoSPARC keeps fractions of a micrograph, whose size is not in the table"
        )
    return notes


def _says_more_than_zero(listed: str) -> bool:
    parts = listed.strip("[] ").split(",")
    return any(part.strip() not in ("", "0", "0.0") for part in parts) and listed not in ("", "None")


def uids_of(kept: Sequence[str] | None, names: Sequence[str], source: str) -> NDArray[np.uint64]:
    """The uids that came with a table (as text), or ones made from the rows' names: the same every time.

    Raises:
        InputError: one is no number of 64 bits, or two rows have the same.
    """
    if kept is not None:
        if not all(text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64 for text in kept):
            raise InputError(f"{source}: {UID_LABEL} is not a whole number of 64 bits.")
        uids = np.array([int(text) for text in kept], dtype=np.uint64)
    else:
        digests = (hashlib.sha256(name.encode()).digest() for name in names)
        uids = np.array([int.from_bytes(digest[:8], "little") for digest in digests], dtype=np.uint64)
    if len(np.unique(uids)) != len(uids):
        raise InputError(f"{source}: two rows are of one image or have one {UID_LABEL}.")
    return uids


def _blob(particles: Particles) -> Columns:
    pairs = [split_reference(name, particles.source) for name in particles.image_names]
    columns: Columns = {
        "blob/path": np.array([name for _, name in pairs], dtype=object),
        "blob/idx": np.array([slice_index for slice_index, _ in pairs], dtype=np.uint32),
        "blob/psize_A": particles.per_particle("pixel_size_angstrom").astype(np.float32),
    }
    boxes = [group.box_px for group in particles.optics]
    if None not in boxes:
        box = particles.per_particle("box_px").astype(np.uint32)
        columns["blob/shape"] = np.stack([box, box], axis=1)
    return columns


def _ctf(particles: Particles) -> Columns:
    index = particles.optics_index
    spherical = particles.per_particle("spherical_aberration_mm")
    groups = np.array([exposure_group(group.name, group.group) for group in particles.optics], dtype=np.uint32)
    tilts = [tilt_angstrom(particles.per_particle(f"beam_tilt_{axis}_mrad"), spherical) for axis in "xy"]
    numbers = {
        "ctf/accel_kv": particles.per_particle("voltage_kv"),
        "ctf/cs_mm": spherical,
        "ctf/amp_contrast": particles.per_particle("amplitude_contrast"),
        "ctf/phase_shift_rad": np.deg2rad(particles.phase_shift_degrees),
        "ctf/tilt_A": np.stack(tilts, axis=1),
    }
    if "rlnDefocusU" in particles.columns:
        numbers |= {
            "ctf/df1_A": particles.defocus_u_angstrom,
            "ctf/df2_A": particles.defocus_v_angstrom,
            "ctf/df_angle_rad": np.deg2rad(particles.defocus_angle_degrees),
        }
    columns: Columns = {name: values.astype(np.float32) for name, values in numbers.items()}
    return columns | {"ctf/exp_group_id": groups[index]}


def _location(particles: Particles) -> Columns:
    if "rlnMicrographName" not in particles.columns:
        return {}
    columns: Columns = {"location/micrograph_path": particles.column("rlnMicrographName").astype(str).astype(object)}
    if not all(label in particles.columns for label in (*SHAPE_LABELS, "rlnCoordinateX", "rlnCoordinateY")):
        return columns
    width, height = (particles.numbers(label) for label in SHAPE_LABELS)
    if (width < 1).any() or (height < 1).any():
        raise InputError(f"{particles.source}: {SHAPE_LABELS[0]} or {SHAPE_LABELS[1]} is not a size in pixels.")
    columns["location/micrograph_shape"] = np.stack([height, width], axis=1).astype(np.uint32)
    columns["location/center_x_frac"] = (particles.numbers("rlnCoordinateX") / width).astype(np.float32)
    columns["location/center_y_frac"] = (particles.numbers("rlnCoordinateY") / height).astype(np.float32)
    return columns


def _alignments(particles: Particles) -> Columns:
    three = {"rlnAngleRot", "rlnAngleTilt"} <= set(particles.columns)
    if not three and "rlnAnglePsi" not in particles.columns:
        return {}
    group = "alignments3D" if three else "alignments2D"
    pixel = particles.per_particle("pixel_size_angstrom")
    angles = particles.angles_degrees
    pose = euler_to_rotation_vectors(angles) if three else np.deg2rad(angles[:, 2])
    shift = particles.origins_angstrom / pixel[:, None]
    columns: Columns = {
        f"{group}/pose": pose.astype(np.float32),
        f"{group}/shift": shift.astype(np.float32),
        f"{group}/psize_A": pixel.astype(np.float32),
    }
    for field, label in (("class", "rlnClassNumber"), ("split", "rlnRandomSubset")):
        if label in particles.columns:
            columns[f"{group}/{field}"] = (particles.columns[label] - 1).astype(np.uint32)
    return columns


def _in_pixels_of(columns: Mapping[str, NDArray[Any]], pixel: NDArray[Any]) -> Columns:
    """Shifts in pixels of the original alignment, which may have been of binned images."""
    ratio = columns["alignments3D/psize_A"].astype(np.float64) / pixel.astype(np.float64)
    shift = columns["alignments3D/shift"].astype(np.float64) * ratio[:, None]
    return {"alignments3D/shift": shift.astype(np.float32), "alignments3D/psize_A": pixel}


def _unless_same(vectors: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
    """The original vector wherever it is the same rotation: one rotation has many vectors."""
    same = angle_between_rad(vectors.astype(np.float64), before.astype(np.float64)) < SAME_ROTATION_RAD
    return np.where(same[:, None], before, vectors)


def _says_something(values: NDArray[Any]) -> bool:
    """Whether a field the original lacks is more than zeros."""
    return values.dtype == object or bool(values.any())


def _means(old: str, new: str) -> bool:
    """Whether a name is the old one, or the old stack under the suffix RELION takes."""
    return new == old or (old.endswith(".mrc") and new == f"{old}s")


def _as_before(values: NDArray[Any], before: NDArray[Any] | None) -> NDArray[Any]:
    """``values`` in the original's type; texts that mean the same (``>`` before a path) and poses stay as they were."""
    if before is None:
        return values
    if values.dtype == object and before.dtype == object:
        same = [_means(str(old).removeprefix(">"), str(new)) for old, new in zip(before, values, strict=True)]
        return np.where(same, before, values)
    return values.astype(before.dtype) if values.shape == before.shape else values
