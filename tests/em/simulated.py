"""Small simulated particle sets with known truth, for tests of the likelihood engine and for benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import torch
from numpy.typing import NDArray

from cryorepro.em.blobs import BlobModel
from cryorepro.em.ctf import CtfParameters
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.imageset import ArraySource, ImageSet
from cryorepro.em.phantom import ribosome
from cryorepro.em.simulate import Imaging, Views, signal_scale, simulate_images
from cryorepro.em.streams import random_stream


@dataclass(frozen=True)
class SimulatedSet:
    """Images, where they came from, and the particle's models in the images' scale."""

    images: NDArray[np.float32]
    views: Views
    imaging: Imaging
    models: tuple[BlobModel, ...]
    scale: float

    def image_set(self, micrographs: int = 4) -> ImageSet:
        """The images as the expectation step takes them."""
        count = len(self.views)
        defocus = torch.from_numpy(self.views.defocus)
        every = torch.ones(count, dtype=torch.float64)
        ctf = CtfParameters(
            defocus[:, 0], defocus[:, 1], defocus[:, 2], every * 0.0, every * self.imaging.voltage_kv,
            every * self.imaging.spherical_aberration_mm, every * self.imaging.amplitude_contrast,
        )  # fmt: skip
        return ImageSet(
            source=ArraySource(self.images),
            box_px=self.imaging.box_px,
            pixel_size_angstrom=self.imaging.pixel_size_angstrom,
            ctf=ctf,
            noise_group=torch.zeros(count, dtype=torch.int64),
            scale_group=torch.arange(count) * micrographs // count,
        )

    def volume(self, conformer: int, low_pass_angstrom: float | None = None) -> torch.Tensor:
        """The true map of a conformer, float32, in the scale of the images."""
        imaging = self.imaging
        volume = self.models[conformer].volume(imaging.box_px, imaging.pixel_size_angstrom, low_pass_angstrom)
        return torch.from_numpy(volume * self.scale).float()


def simulated_set(
    count: int,
    box_px: int = 64,
    pixel_size_angstrom: float = 7.54,
    snr: float = 0.3,
    seed: int = 1,
    shift_px: float = 1.5,
    shares: tuple[float, float, float] = (0.4, 0.25, 0.35),
) -> SimulatedSet:
    """``count`` particles of the three-conformer ribosome in these shares, uniform views."""
    imaging = Imaging(box_px, pixel_size_angstrom, 300.0, 2.7, 0.1, snr, background_radius_px=0.375 * box_px)
    stream = random_stream(seed, "tests/views")
    tilt = np.rad2deg(np.arccos(stream.uniform(-1.0, 1.0, count)))
    angles = np.stack([stream.uniform(-180, 180, count), tilt, stream.uniform(-180, 180, count)], axis=1)
    shifts = stream.normal(0.0, shift_px, (count, 2)).clip(-4.0, 4.0) * pixel_size_angstrom
    u = stream.uniform(10_000.0, 30_000.0, count)
    defocus = np.stack([u, u - stream.uniform(0, 500, count), stream.uniform(0, 180, count)], axis=1)
    conformers = stream.choice(3, size=count, p=shares)
    views = Views(conformers, angles, shifts, defocus)
    models = ribosome(seed)
    scale = signal_scale(models, views.part(slice(0, 64)), imaging)
    images = np.concatenate(list(simulate_images(models, views, imaging, scale, random_stream(seed, "tests/noise"))))
    return SimulatedSet(images, views, imaging, models, scale)


def write_set(data: SimulatedSet, directory: Path, micrographs: int = 4) -> Path:
    """Write ``particles.mrcs`` and ``particles.star`` (RELION 3.1) in ``directory``; returns the STAR file."""
    count, imaging = len(data.views), data.imaging
    with mrcfile.new(directory / "particles.mrcs") as stack:
        stack.set_data(data.images)
        stack.set_image_stack()
        stack.voxel_size = imaging.pixel_size_angstrom
    optics = OpticsGroup(
        1, "opticsGroup1", imaging.voltage_kv, imaging.spherical_aberration_mm, imaging.amplitude_contrast,
        imaging.pixel_size_angstrom, imaging.box_px,
    )  # fmt: skip
    columns = {
        "rlnImageName": np.array([f"{i + 1:06d}@particles.mrcs" for i in range(count)], dtype=object),
        "rlnMicrographName": np.array(
            [f"mic{i * micrographs // count + 1:03d}.mrc" for i in range(count)], dtype=object
        ),
        "rlnOpticsGroup": np.ones(count, dtype=np.int64),
        "rlnDefocusU": data.views.defocus[:, 0],
        "rlnDefocusV": data.views.defocus[:, 1],
        "rlnDefocusAngle": data.views.defocus[:, 2],
    }
    write_particles(directory / "particles.star", Particles((optics,), columns))
    return directory / "particles.star"
