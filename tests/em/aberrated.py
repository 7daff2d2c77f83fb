"""Particles at high resolution with known defocus, astigmatism and beam tilt, in closed form, with known poses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.blobs import BlobModel, signed_frequencies
from cryorepro.em.formats.maps import write_map, write_stack
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.simulate import Imaging, Views, clean_transforms

WAVELENGTH_300KV_ANGSTROM = 0.019687
CS_MM = 2.7


@dataclass(frozen=True)
class AberratedSet:
    """Truth and images; particles of one micrograph share their astigmatism."""

    model: BlobModel
    imaging: Imaging
    views: Views
    micrograph: NDArray[np.int64]
    tilt_mrad: tuple[float, float]
    images: NDArray[np.float32]

    def particles(self, defocus: NDArray[np.float64], tilt_mrad: tuple[float, float] = (0.0, 0.0)) -> Particles:
        """The particle table with this defocus ``[n, 3]`` and beam tilt stated; poses are the true ones."""
        optics = OpticsGroup(
            1, "opticsGroup1", self.imaging.voltage_kv, CS_MM, self.imaging.amplitude_contrast,
            self.imaging.pixel_size_angstrom, self.imaging.box_px,
        )  # fmt: skip
        count = len(self.views)
        columns: dict[str, NDArray[np.generic]] = {
            "rlnImageName": np.array([f"{i + 1:06d}@particles.mrcs" for i in range(count)], dtype=object),
            "rlnMicrographName": np.array([f"mic{m + 1}.mrc" for m in self.micrograph], dtype=object),
            "rlnOpticsGroup": np.ones(count, dtype=np.int64),
            "rlnRandomSubset": np.arange(count) % 2 + 1,
        }
        columns |= {f"rlnDefocus{name}": defocus[:, i] for i, name in enumerate(("U", "V", "Angle"))}
        columns |= {f"rlnAngle{name}": self.views.angles_degrees[:, i] for i, name in enumerate(("Rot", "Tilt", "Psi"))}
        columns |= {f"rlnOrigin{name}Angst": -self.views.shifts_angstrom[:, i] for i, name in enumerate("XY")}
        optics = replace(optics, beam_tilt_x_mrad=tilt_mrad[0], beam_tilt_y_mrad=tilt_mrad[1])
        return Particles((optics,), columns)

    def write(self, directory: Path, defocus: NDArray[np.float64], tilt_mrad: tuple[float, float] = (0.0, 0.0)) -> Path:
        """Write stack, table and the true map; returns the table."""
        pixel = self.imaging.pixel_size_angstrom
        write_stack(directory / "particles.mrcs", self.images, pixel)
        write_map(directory / "truth.mrc", self.model.volume(self.imaging.box_px, pixel), pixel)
        write_particles(directory / "particles.star", self.particles(defocus, tilt_mrad))
        return directory / "particles.star"


def aberrated_set(
    count: int = 200,
    micrographs: int = 4,
    box_px: int = 64,
    pixel_size_angstrom: float = 1.5,
    snr: float = 0.5,
    tilt_mrad: tuple[float, float] = (0.0, 0.0),
    seed: int = 5,
    trefoil: tuple[float, float] = (0.0, 0.0),
) -> AberratedSet:
    """Particles of compact blobs; defocus 0.8 to 1.4 um, varying by 300 A within a micrograph, astigmatism to 400 A."""
    stream = np.random.default_rng(seed)
    extent = box_px * pixel_size_angstrom
    model = BlobModel(stream.normal(0, extent / 9, (220, 3)), np.full(220, 0.8), stream.uniform(0.5, 1.5, 220))
    imaging = Imaging(box_px, pixel_size_angstrom, 300.0, CS_MM, 0.1, snr)
    micrograph = np.arange(count) * micrographs // count
    mean = stream.uniform(8_000, 14_000, micrographs)[micrograph] + stream.normal(0, 300, count)
    astigmatism = stream.uniform(100, 400, micrographs)[micrograph]
    angle = stream.uniform(0, 180, micrographs)[micrograph]
    tilt = np.rad2deg(np.arccos(stream.uniform(-1.0, 1.0, count)))
    angles = np.stack([stream.uniform(-180, 180, count), tilt, stream.uniform(-180, 180, count)], axis=1)
    shifts = stream.normal(0.0, 1.5, (count, 2))
    defocus = np.stack([mean + astigmatism / 2, mean - astigmatism / 2, angle], axis=1)
    views = Views(np.zeros(count, dtype=np.int64), angles, shifts, defocus)
    transform = clean_transforms([model], views, imaging) * np.exp(
        -1j * (_coma(imaging, tilt_mrad) + _trefoil(imaging, trefoil))
    )
    clean = np.fft.irfft2(transform, s=(box_px, box_px))
    noise = stream.normal(0.0, np.sqrt(clean.var(axis=(1, 2)).mean() / snr), clean.shape)
    return AberratedSet(model, imaging, views, micrograph, tilt_mrad, (clean + noise).astype(np.float32))


def _coma(imaging: Imaging, tilt_mrad: tuple[float, float]) -> NDArray[np.float64]:
    """Written apart from the engine's: 0.36 degrees times Cs lambda^2 |k|^2 k per mrad."""
    kx, ky = signed_frequencies(imaging.box_px, imaging.pixel_size_angstrom)
    scale = np.deg2rad(0.360) * CS_MM * 1e7 * WAVELENGTH_300KV_ANGSTROM**2
    phase: NDArray[np.float64] = scale * (kx**2 + ky**2) * (tilt_mrad[0] * kx + tilt_mrad[1] * ky)
    return phase


def _trefoil(imaging: Imaging, amplitudes: tuple[float, float]) -> NDArray[np.float64]:
    """|k|^3 times cosine and sine of three times the azimuth, in rad for amplitudes in rad Angstrom^3."""
    kx, ky = signed_frequencies(imaging.box_px, imaging.pixel_size_angstrom)
    third = (kx + 1j * ky) ** 3
    phase: NDArray[np.float64] = amplitudes[0] * third.real + amplitudes[1] * third.imag
    return phase
