"""Particles of a CryoSPARC table in RELION 3.1's terms.

What both can express goes over: images, CTF, beam tilt, poses, shifts, half sets, classes, places in micrographs. Of
what only CryoSPARC has, ``uid`` and the micrographs' shape are kept as columns of our own, so that the way back is
exact; the rest comes back from the original table (`cryosparc_back`). Counting starts at 0 there and at 1 here.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.cryosparc import UID, CsTable
from cryorepro.em.formats.cryosparc_poses import rotation_vectors_to_euler
from cryorepro.em.formats.optics import OpticsGroup, check_range
from cryorepro.em.formats.particles import MAX_DEFOCUS_ANGSTROM, Particles

Columns = dict[str, NDArray[Any]]
UID_LABEL = "cryosparcUidName"
"""Ends in Name so that no reader takes it for a number: 64 bits do not fit into a double."""
SHAPE_LABELS = ("cryosparcMicrographShapeX", "cryosparcMicrographShapeY")
NOT_CARRIED = ("ctf/trefoil_A", "ctf/tetra_A", "ctf/anisomag", "ctf/shift_A", "ctf/bfactor")
"""No public document says what these are in RELION's terms; they stay behind, and are named when they are not 0."""
DECIMALS = 8
_GROUP = re.compile(r"exp_group_(\d+)(?:_\d+)?")
_MM_IN_ANGSTROM = 1e7


def cs_particles(table: CsTable) -> Particles:
    """Particles of a table with ``blob`` and ``ctf`` fields (join passthrough files first).

    Raises:
        InputError: a field is missing, of the wrong kind, not finite or out of range, or poses are those of several
            classes at once.
    """
    optics, numbers = _optics(table)
    columns: Columns = {"rlnImageName": _image_names(table), "rlnOpticsGroup": numbers}
    columns |= _defocus(table) | place_columns(table) | _alignments(table)
    if UID in table:
        columns[UID_LABEL] = np.array([str(uid) for uid in table.column(UID).tolist()], dtype=object)
    return Particles(optics, columns, table.source)


def left_behind(table: CsTable) -> list[str]:
    """A sentence for each correction in ``table`` that RELION's table will lack."""
    return [
        f"{field} is not zero and stays behind: its meaning in RELION's terms is not documented"
        for field in NOT_CARRIED
        if table.any_nonzero(field)
    ]


def beam_tilt_mrad(tilt_angstrom: NDArray[np.float64], cs_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """``ctf/tilt_A`` = Cs sin(tilt), as a tilt in mrad; both ``[n]``. 0 where there is no spherical aberration."""
    sine = np.divide(tilt_angstrom, cs_mm * _MM_IN_ANGSTROM, out=np.zeros_like(tilt_angstrom), where=cs_mm > 0)
    return np.asarray(1e3 * np.arcsin(np.clip(sine, -1.0, 1.0)))


def tilt_angstrom(beam_tilt_mrad: NDArray[np.float64], cs_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """The way back."""
    return np.asarray(cs_mm * _MM_IN_ANGSTROM * np.sin(1e-3 * beam_tilt_mrad))


def exposure_group(name: str, number: int) -> int:
    """The ``ctf/exp_group_id`` that an optics group was made of, or its own number."""
    match = _GROUP.fullmatch(name)
    return int(match[1]) if match else number


def _image_names(table: CsTable) -> NDArray[Any]:
    paths, slices = table.texts("blob/path"), table.numbers("blob/idx")
    if (slices < 0).any() or (slices != np.round(slices)).any():
        raise InputError(f"{table.source}: blob/idx is not the number of an image in its stack.")
    # an exported group marks paths relative to itself with a ">"
    names = [f"{int(k) + 1:06d}@{path.removeprefix('>')}" for path, k in zip(paths, slices, strict=True)]
    return np.array(names, dtype=object)


def _optics(table: CsTable) -> tuple[tuple[OpticsGroup, ...], NDArray[np.int64]]:
    """One optics group for each exposure group and combination of conditions in it, and each particle's number."""
    boxes = table.numbers("blob/shape", 2)
    if (boxes[:, 0] != boxes[:, 1]).any():
        raise InputError(f"{table.source}: blob/shape is not square.")
    spherical = table.numbers("ctf/cs_mm")
    tilts = table.numbers("ctf/tilt_A", 2) if "ctf/tilt_A" in table else np.zeros((len(table), 2))
    conditions = np.stack([
        table.numbers("ctf/exp_group_id") if "ctf/exp_group_id" in table else np.zeros(len(table)),
        table.numbers("ctf/accel_kv"),
        spherical,
        table.numbers("ctf/amp_contrast"),
        table.numbers("blob/psize_A"),
        boxes[:, 0],
        *(np.round(beam_tilt_mrad(tilts[:, axis], spherical), DECIMALS) for axis in (0, 1)),
    ], axis=1)  # fmt: skip
    distinct, inverse = np.unique(conditions, axis=0, return_inverse=True)
    seen: dict[int, int] = {}
    groups = []
    for number, row in enumerate(distinct, start=1):
        group = int(row[0])
        seen[group] = seen.get(group, 0) + 1
        name = f"exp_group_{group}" + (f"_{seen[group]}" if seen[group] > 1 else "")
        groups.append(_optics_group(number, name, row, table.source))
    return tuple(groups), inverse.reshape(-1).astype(np.int64) + 1


def _optics_group(number: int, name: str, row: NDArray[np.float64], source: str) -> OpticsGroup:
    fields = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImagePixelSize", "rlnImageSize")
    voltage, spherical, amplitude, pixel, box = (
        check_range(float(value), label, source, name) for label, value in zip(fields, row[1:6], strict=True)
    )
    return OpticsGroup(number, name, voltage, spherical, amplitude, pixel, int(box), float(row[6]), float(row[7]))


def _defocus(table: CsTable) -> Columns:
    columns: Columns = {
        "rlnDefocusU": table.numbers("ctf/df1_A"),
        "rlnDefocusV": table.numbers("ctf/df2_A"),
        "rlnDefocusAngle": degrees(table.numbers("ctf/df_angle_rad")),
    }
    if max(np.abs(columns[label]).max(initial=0.0) for label in ("rlnDefocusU", "rlnDefocusV")) > MAX_DEFOCUS_ANGSTROM:
        raise InputError(f"{table.source}: ctf/df1_A or ctf/df2_A is beyond {MAX_DEFOCUS_ANGSTROM:g} Angstrom.")
    if table.any_nonzero("ctf/phase_shift_rad"):
        columns["rlnPhaseShift"] = degrees(table.numbers("ctf/phase_shift_rad"))
    return columns


def degrees(radians: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees, rounded to what a float32 in radians can hold and no more."""
    return np.asarray(np.round(np.rad2deg(radians), DECIMALS), dtype=np.float64)


def place_columns(table: CsTable) -> Columns:
    """Micrograph and pixel coordinates of the particles' centres, as far as the table has them."""
    if "location/micrograph_path" not in table:
        return {}
    paths = [path.removeprefix(">") for path in table.texts("location/micrograph_path")]
    columns: Columns = {"rlnMicrographName": np.array(paths, dtype=object)}
    if "location/center_x_frac" not in table:
        return columns
    shape = table.numbers("location/micrograph_shape", 2)  # (y, x)
    for axis, label, name in ((1, "X", "x"), (0, "Y", "y")):
        fraction = table.numbers(f"location/center_{name}_frac")
        columns[f"rlnCoordinate{label}"] = np.round(fraction * shape[:, axis], DECIMALS)
    columns |= {SHAPE_LABELS[0]: shape[:, 1], SHAPE_LABELS[1]: shape[:, 0]}
    return columns


def _alignments(table: CsTable) -> Columns:
    """Poses of a 3D refinement, else of a 2D classification, else none."""
    if "alignments3D/pose" in table:
        angles = np.round(rotation_vectors_to_euler(table.numbers("alignments3D/pose", 3)), DECIMALS)
        columns: Columns = {f"rlnAngle{name}": angles[:, k] for k, name in enumerate(("Rot", "Tilt", "Psi"))}
        return columns | _shared_alignment(table, "alignments3D")
    if any(field.startswith("alignments3D_multi/") for field in table.columns):
        raise InputError(f"{table.source}: holds poses in several classes at once; export one class's particles.")
    if "alignments2D/pose" in table:
        psi = degrees(table.numbers("alignments2D/pose"))
        return {"rlnAnglePsi": psi} | _shared_alignment(table, "alignments2D")
    return {}


def _shared_alignment(table: CsTable, group: str) -> Columns:
    columns: Columns = {}
    if f"{group}/shift" in table:
        pixel = table.numbers(f"{group}/psize_A" if f"{group}/psize_A" in table else "blob/psize_A")
        shift = np.round(table.numbers(f"{group}/shift", 2) * pixel[:, None], DECIMALS)
        columns |= {"rlnOriginXAngst": shift[:, 0], "rlnOriginYAngst": shift[:, 1]}
    for field, label in (("class", "rlnClassNumber"), ("split", "rlnRandomSubset")):
        if f"{group}/{field}" in table:
            columns[label] = table.numbers(f"{group}/{field}").astype(np.int64) + 1
    return columns
