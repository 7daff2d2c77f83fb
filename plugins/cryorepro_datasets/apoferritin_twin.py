"""The twin of EMPIAR-10146: a simulated hollow shell with octahedral symmetry in the deposit's optics.

The particles carry no pose.  Those, and the map, are the truth, which goes to a directory of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from cryorepro.em.blobs import BlobModel
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.formats.stack_writer import write_stack_chunks
from cryorepro.em.maskcreate import create_mask
from cryorepro.em.shell_phantom import octahedral_shell
from cryorepro.em.simulate import Imaging, Views, quantise, signal_scale, simulate_images
from cryorepro.em.streams import random_stream
from cryorepro.model.base import Record
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro_datasets.empiar_10146 import (
    AMPLITUDE_CONTRAST,
    BOX_PX,
    DIAMETER_ANGSTROM,
    PIXEL_SIZE_ANGSTROM,
    SPHERICAL_ABERRATION_MM,
    SYMMETRY,
    VOLTAGE_KV,
)

_MAP_QUANTUM = 2.0**-20
_SCALE_SAMPLE = 64
_PER_MICROGRAPH = 50
_ASTIGMATISM_ANGSTROM = 300.0


class ShellTwinParameters(Record):
    """What decides the twin's bytes, beside the seed.  Defocus spans what the deposit's micrographs show."""

    particles: int = Field(600, ge=30, le=100_000)
    snr: float = Field(0.1, gt=0.0, le=100.0, description="variance of signal over noise, whole image")
    shift_sigma_px: float = Field(1.0, ge=0.0, le=5.0)
    lowest_defocus_angstrom: float = Field(15_000.0, ge=3_000.0, le=50_000.0)
    highest_defocus_angstrom: float = Field(25_000.0, ge=3_000.0, le=50_000.0)
    reference_low_pass_angstrom: float = Field(20.0, ge=6.0, le=200.0)


def prepare_shell_twin(request: DataRequest) -> PreparedData:
    """Write particles, stack, reference and mask to ``request.directory``, the truth to its own directory.

    Raises:
        InputError: A parameter is unknown or out of range.
    """
    parameters = _parameters(request.parameters)
    views = _views(parameters, request.seed)
    imaging = Imaging(
        box_px=BOX_PX,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        voltage_kv=VOLTAGE_KV,
        spherical_aberration_mm=SPHERICAL_ABERRATION_MM,
        amplitude_contrast=AMPLITUDE_CONTRAST,
        snr=parameters.snr,
        background_radius_px=DIAMETER_ANGSTROM / 2.0 / PIXEL_SIZE_ANGSTROM,
    )
    model = octahedral_shell(request.seed)
    scale = signal_scale([model], views.part(slice(0, _SCALE_SAMPLE)), imaging)
    for folder in (request.directory, request.truth_directory):
        folder.mkdir(parents=True, exist_ok=True)
    files = {"particles": "particles.star", "stack": "particles.mrcs", "reference": "reference.mrc", "mask": "mask.mrc"}
    paths = {role: request.directory / name for role, name in files.items()}
    images = simulate_images([model], views, imaging, scale, random_stream(request.seed, "noise"))
    write_stack_chunks(paths["stack"], images, len(views), BOX_PX, PIXEL_SIZE_ANGSTROM)
    table = _table(views, paths["stack"].name)
    write_particles(paths["particles"], table)
    truth = truth_files(request.truth_directory)
    write_particles(truth["particles"], _with_truth(table, views))
    _write_maps(paths, truth["map"], model, scale, parameters.reference_low_pass_angstrom)
    return PreparedData(
        files=paths,
        rows={"particles": len(views)},
        box_px=BOX_PX,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        voltage_kv=VOLTAGE_KV,
        origin=f"simulated from seed {request.seed}: a procedural octahedral shell in the deposit's optics",
        parameters={
            **parameters.model_dump(mode="json"), "seed": request.seed, "symmetry": SYMMETRY,
            "particle_diameter_angstrom": DIAMETER_ANGSTROM,
        },
        has_truth=True,
    )  # fmt: skip


def truth_files(directory: Path) -> dict[str, Path]:
    """Paths of the truth by role: ``particles`` and ``map``."""
    return {"particles": directory / "truth_particles.star", "map": directory / "truth_map.mrc"}


def _parameters(given: dict[str, Any]) -> ShellTwinParameters:
    try:
        parameters = ShellTwinParameters.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"empiar-10146 twin: parameter {field}: {first['msg']}.") from error
    if parameters.highest_defocus_angstrom < parameters.lowest_defocus_angstrom:
        raise InputError("empiar-10146 twin: parameter highest_defocus_angstrom: below the lowest.")
    return parameters


def _views(parameters: ShellTwinParameters, seed: int) -> Views:
    """Poses, shifts and defocus, each from its own stream, rounded as written: the truth is exact."""
    count = parameters.particles
    turn = random_stream(seed, "orientations").random((count, 3))
    tilt = np.rad2deg(np.arccos(1.0 - 2.0 * turn[:, 1]))
    angles = np.stack([360.0 * turn[:, 0] - 180.0, tilt, 360.0 * turn[:, 2] - 180.0], axis=1)
    shifts = random_stream(seed, "shifts").normal(0.0, parameters.shift_sigma_px, (count, 2))
    stream = random_stream(seed, "defocus")
    micrographs = np.arange(count) // _PER_MICROGRAPH
    number = int(micrographs[-1]) + 1
    middle = stream.uniform(parameters.lowest_defocus_angstrom, parameters.highest_defocus_angstrom, number)
    split = stream.uniform(0.0, _ASTIGMATISM_ANGSTROM / 2.0, number)
    defocus = np.stack([middle + split, middle - split, stream.uniform(0.0, 180.0, number)], axis=1)
    return Views(
        np.zeros(count, dtype=np.int64),
        np.round(angles, 4),
        np.round(shifts.clip(-4.0, 4.0) * PIXEL_SIZE_ANGSTROM, 4),
        np.round(defocus, 1)[micrographs],
    )


def _table(views: Views, stack: str) -> Particles:
    """What a runner may know of the particles: no pose."""
    count = len(views)
    optics = OpticsGroup(
        group=1,
        name="opticsGroup1",
        voltage_kv=VOLTAGE_KV,
        spherical_aberration_mm=SPHERICAL_ABERRATION_MM,
        amplitude_contrast=AMPLITUDE_CONTRAST,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        box_px=BOX_PX,
        extra={"rlnImageDimensionality": "2"},
    )
    names = [f"{i + 1:06d}@{stack}" for i in range(count)]
    micrographs = [f"micrographs/twin_{i // _PER_MICROGRAPH + 1:04d}.mrc" for i in range(count)]
    columns: dict[str, np.ndarray] = {
        "rlnImageName": np.array(names, dtype=object),
        "rlnMicrographName": np.array(micrographs, dtype=object),
        "rlnDefocusU": views.defocus[:, 0],
        "rlnDefocusV": views.defocus[:, 1],
        "rlnDefocusAngle": views.defocus[:, 2],
        "rlnOpticsGroup": np.ones(count, dtype=np.int64),
    }
    return Particles((optics,), columns, "twin of empiar-10146")


def _with_truth(table: Particles, views: Views) -> Particles:
    names = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    angles = {name: views.angles_degrees[:, i] for i, name in enumerate(names)}
    # The origin is the shift that brings the particle back to the centre. Adding 0 turns -0.0 into 0.0.
    origins = {f"rlnOrigin{axis}Angst": 0.0 - views.shifts_angstrom[:, i] for i, axis in enumerate("XY")}
    return table.with_columns(**angles, **origins, rlnClassNumber=views.conformers + 1)


def _write_maps(paths: dict[str, Path], truth: Path, model: BlobModel, scale: float, lowpass_angstrom: float) -> None:
    """Reference, mask and truth, the maps in the grey scale of the particles."""
    reference = scale * model.volume(BOX_PX, PIXEL_SIZE_ANGSTROM, lowpass_angstrom)
    mask = create_mask(reference, PIXEL_SIZE_ANGSTROM, 0.1 * float(reference.max()), extend_px=2.0, soft_edge_px=5.0)
    write_map(paths["reference"], quantise(reference, _MAP_QUANTUM), PIXEL_SIZE_ANGSTROM)
    write_map(paths["mask"], quantise(mask, _MAP_QUANTUM), PIXEL_SIZE_ANGSTROM)
    write_map(truth, quantise(scale * model.volume(BOX_PX, PIXEL_SIZE_ANGSTROM), _MAP_QUANTUM), PIXEL_SIZE_ANGSTROM)
