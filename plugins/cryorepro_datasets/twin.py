"""The twin of EMPIAR-10028: simulated particles in the deposit's field of view, defocus and optics.

The particles carry no pose and no class. Those, and the maps of the conformers, are the truth, which goes to
a directory of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.blobs import BlobModel
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.formats.stack_writer import write_stack_chunks
from cryorepro.em.phantom import CONFORMERS, ribosome
from cryorepro.em.simulate import Imaging, Views, quantise, signal_scale, simulate_images
from cryorepro.em.streams import random_stream
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro_datasets.ctf_table import CtfTable, load_ctf_table
from cryorepro_datasets.twin_sample import Sample, TwinParameters, draw_sample, twin_parameters

PARTICLES, STACK, REFERENCE, MANIFEST = "particles.star", "particles.mrcs", "reference.mrc", "twin.json"
FILES = {"particles": PARTICLES, "stack": STACK, "reference": REFERENCE, "manifest": MANIFEST}
TRUTH_PARTICLES = "truth_particles.star"
_MAP_QUANTUM = 2.0**-20
_ORIGINAL_PIXEL_ANGSTROM = 1.34
_SCALE_SAMPLE = 128


def prepare_twin(request: DataRequest) -> PreparedData:
    """Write particles, stack, reference and manifest to `request.directory`, the truth to `truth_directory`.

    Raises:
        InputError: A parameter is unknown or out of range.
    """
    parameters = twin_parameters(request.parameters)
    ctf = load_ctf_table("empiar_10028_ctf")
    imaging = _imaging(parameters, ctf)
    models = ribosome(request.seed)
    sample = draw_sample(parameters, ctf, request.seed)
    scale = signal_scale(models, sample.views.part(slice(0, _SCALE_SAMPLE)), imaging)
    for folder in (request.directory, request.truth_directory):
        folder.mkdir(parents=True, exist_ok=True)
    images = simulate_images(models, sample.views, imaging, scale, random_stream(request.seed, "noise"))
    pixel = parameters.pixel_size_angstrom
    write_stack_chunks(request.directory / STACK, images, parameters.particles, parameters.box_px, pixel)
    table = _table(sample, parameters, ctf)
    write_particles(request.directory / PARTICLES, table)
    _write_maps(request, parameters, models, scale)
    write_particles(request.truth_directory / TRUTH_PARTICLES, _with_truth(table, sample.views))
    recorded = {"seed": request.seed, **parameters.model_dump(mode="json")}
    (request.directory / MANIFEST).write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    return PreparedData(
        files={role: request.directory / name for role, name in FILES.items()},
        rows={"particles": parameters.particles},
        box_px=parameters.box_px,
        pixel_size_angstrom=pixel,
        voltage_kv=ctf.voltage_kv,
        origin=(
            f"simulated from seed {request.seed}: a procedural ribosome in {len(CONFORMERS)} conformers, "
            "with defocus drawn from the distribution of EMPIAR-10028"
        ),
        parameters=recorded,
        has_truth=True,
    )


def truth_files(directory: Path) -> dict[str, Path]:
    """Paths of the truth by role: `particles`, and `class001` … for the conformers' maps."""
    maps = {f"class{k:03d}": directory / f"truth_class{k:03d}.mrc" for k in range(1, len(CONFORMERS) + 1)}
    return {"particles": directory / TRUTH_PARTICLES, **maps}


def _imaging(parameters: TwinParameters, ctf: CtfTable) -> Imaging:
    return Imaging(
        box_px=parameters.box_px,
        pixel_size_angstrom=parameters.pixel_size_angstrom,
        voltage_kv=ctf.voltage_kv,
        spherical_aberration_mm=ctf.spherical_aberration_mm,
        amplitude_contrast=ctf.amplitude_contrast,
        snr=parameters.snr,
        noise_knee_angstrom=parameters.noise_knee_angstrom,
        noise_floor=parameters.noise_floor,
        background_radius_px=parameters.particle_diameter_angstrom / 2 / parameters.pixel_size_angstrom,
    )


def _table(sample: Sample, parameters: TwinParameters, ctf: CtfTable) -> Particles:
    """What a runner may know of the particles: no pose, no class."""
    count = len(sample.views)
    optics = OpticsGroup(
        group=1,
        name="opticsGroup1",
        voltage_kv=ctf.voltage_kv,
        spherical_aberration_mm=ctf.spherical_aberration_mm,
        amplitude_contrast=ctf.amplitude_contrast,
        pixel_size_angstrom=parameters.pixel_size_angstrom,
        box_px=parameters.box_px,
        extra={
            "rlnMicrographOriginalPixelSize": f"{_ORIGINAL_PIXEL_ANGSTROM:g}",
            "rlnImageDimensionality": "2",
        },
    )
    names = [f"{i + 1:06d}@{STACK}" for i in range(count)]
    micrographs = [f"micrographs/twin_{m + 1:04d}.mrc" for m in sample.micrographs]
    columns: dict[str, NDArray[Any]] = {
        "rlnImageName": np.array(names, dtype=object),
        "rlnMicrographName": np.array(micrographs, dtype=object),
        "rlnCoordinateX": sample.coordinates_px[:, 0],
        "rlnCoordinateY": sample.coordinates_px[:, 1],
        "rlnDefocusU": sample.views.defocus[:, 0],
        "rlnDefocusV": sample.views.defocus[:, 1],
        "rlnDefocusAngle": sample.views.defocus[:, 2],
        "rlnOpticsGroup": np.ones(count, dtype=np.int64),
    }
    return Particles((optics,), columns, "twin of empiar-10028")


def _with_truth(table: Particles, views: Views) -> Particles:
    return table.with_columns(
        rlnAngleRot=views.angles_degrees[:, 0],
        rlnAngleTilt=views.angles_degrees[:, 1],
        rlnAnglePsi=views.angles_degrees[:, 2],
        # The origin is the shift that brings the particle back to the centre. Adding 0 turns -0.0 into 0.0.
        rlnOriginXAngst=0.0 - views.shifts_angstrom[:, 0],
        rlnOriginYAngst=0.0 - views.shifts_angstrom[:, 1],
        rlnClassNumber=views.conformers + 1,
    )


def _write_maps(request: DataRequest, parameters: TwinParameters, models: tuple[BlobModel, ...], scale: float) -> None:
    """Reference (the first conformer, low-passed) and truth, in the grey scale of the particles."""
    box, pixel = parameters.box_px, parameters.pixel_size_angstrom
    reference = scale * models[0].volume(box, pixel, parameters.reference_low_pass_angstrom)
    write_map(request.directory / REFERENCE, quantise(reference, _MAP_QUANTUM), pixel)
    for role, path in truth_files(request.truth_directory).items():
        if role.startswith("class"):
            volume = scale * models[int(role[-3:]) - 1].volume(box, pixel)
            write_map(path, quantise(volume, _MAP_QUANTUM), pixel)
