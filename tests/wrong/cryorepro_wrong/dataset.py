"""Simulated images of a lopsided particle, with their poses in the table; the map is the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.formats.stack_writer import write_stack_chunks
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.phantom import ribosome
from cryorepro.em.simulate import Imaging, Views, signal_scale, simulate_images
from cryorepro.em.streams import random_stream
from cryorepro.model.base import Record
from cryorepro.model.dataset import DataRequest, PreparedData

BOX, PIXEL = 32, 12.0


class BlobParameters(Record):
    """How the images are made."""

    particles: int = Field(400, ge=30, le=2000)
    magnification: float = Field(1.0, gt=0.5, lt=2.0, description="pixel size of the images over the declared one")
    mask_radius_px: float = 12.0


class Blobs:
    def prepare(self, request: DataRequest) -> PreparedData:
        given = BlobParameters.model_validate(request.parameters)
        model, views = ribosome(1)[0], _views(given.particles, request.seed)
        imaging = Imaging(BOX, PIXEL * given.magnification, 300.0, 2.0, 0.1, snr=0.03, background_radius_px=14.0)
        scale = signal_scale([model], views.part(slice(0, 32)), imaging)
        names = {"particles": "particles.star", "stack": "particles.mrcs", "mask": "mask.mrc"}
        files = {role: request.directory / name for role, name in names.items()}
        images = simulate_images([model], views, imaging, scale, random_stream(request.seed, "noise"))
        write_stack_chunks(files["stack"], images, len(views), BOX, PIXEL)
        write_particles(files["particles"], _table(views, files["stack"].name))
        write_map(files["mask"], spherical_mask(BOX, given.mask_radius_px, 3.0), PIXEL)
        write_map(self.truth(request)["map"], scale * model.volume(BOX, PIXEL), PIXEL)
        return PreparedData(
            files=files,
            rows={"particles": len(views)},
            box_px=BOX,
            pixel_size_angstrom=PIXEL,
            voltage_kv=300,
            origin="simulated blobs",
            parameters={**given.model_dump(mode="json"), "symmetry": "C1"},
            has_truth=True,
        )

    def truth(self, request: DataRequest) -> dict[str, Path]:
        return {"map": request.truth_directory / "map.mrc"}


def _views(count: int, seed: int) -> Views:
    stream = random_stream(seed, "views")
    angles = np.column_stack([
        stream.uniform(-180, 180, count), np.degrees(np.arccos(stream.uniform(-1, 1, count))),
        stream.uniform(-180, 180, count),
    ])  # fmt: skip
    defocus = np.column_stack([stream.uniform(15_000, 35_000, (count, 1)).repeat(2, axis=1), np.zeros(count)])
    return Views(np.zeros(count, dtype=np.int64), angles, stream.normal(0, 8.0, (count, 2)), defocus)


def _table(views: Views, stack: str) -> Particles:
    count = len(views)
    optics = OpticsGroup(
        group=1, name="blobs", voltage_kv=300.0, spherical_aberration_mm=2.0, amplitude_contrast=0.1,
        pixel_size_angstrom=PIXEL, box_px=BOX,
    )  # fmt: skip
    angles = {f"rlnAngle{axis}": views.angles_degrees[:, i] for i, axis in enumerate(("Rot", "Tilt", "Psi"))}
    origins = {f"rlnOrigin{axis}Angst": -views.shifts_angstrom[:, i] for i, axis in enumerate("XY")}
    columns = {
        "rlnImageName": np.array([f"{i + 1:06d}@{stack}" for i in range(count)], dtype=object),
        "rlnDefocusU": views.defocus[:, 0],
        "rlnDefocusV": views.defocus[:, 1],
        "rlnDefocusAngle": views.defocus[:, 2],
        "rlnRandomSubset": np.arange(count) % 2 + 1,
        "rlnOpticsGroup": np.ones(count, dtype=np.int64),
    }
    return Particles((optics,), {**columns, **angles, **origins}, "blobs")
