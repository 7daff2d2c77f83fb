"""Particle images of a known particle: CTF times shifted projection, plus coloured noise, normalised.

Everything is float64 numpy. The CTF here is the closed formula of the conventions, kept apart from the one
the engines use, so that either can check the other. Pixels are rounded to a grid far below the noise:
whatever the order in which a processor adds, the same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.blobs import BlobModel, euler_matrices, signed_frequencies
from cryorepro.em.conventions import electron_wavelength_angstrom

Floats = NDArray[np.float64]
PIXEL_QUANTUM = 2.0**-10
"""Grid of pixel values in units of the background's standard deviation."""
_MM_IN_ANGSTROM = 1.0e7
_CHUNK = 64


@dataclass(frozen=True)
class Imaging:
    """What all images share.

    Attributes:
        box_px: Even box size.
        pixel_size_angstrom: Pixel size.
        voltage_kv: Acceleration voltage.
        spherical_aberration_mm: Cs.
        amplitude_contrast: Q0 as a fraction.
        snr: Mean variance of the CTF-modulated signal over the whole image, divided by that of the noise.
        noise_knee_angstrom: Resolution at which the noise's power has fallen half way to its floor.
        noise_floor: Power of the noise at high resolution relative to low.
        background_radius_px: Pixels further than this from the centre are background (mean 0, deviation 1).
    """

    box_px: int
    pixel_size_angstrom: float
    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    snr: float
    noise_knee_angstrom: float = 60.0
    noise_floor: float = 0.4
    background_radius_px: float = 24.0


@dataclass(frozen=True)
class Views:
    """What differs between n images.

    Attributes:
        conformers: int64 [n], 0-based.
        angles_degrees: float64 [n, 3], (rot, tilt, psi).
        shifts_angstrom: float64 [n, 2], where the particle's origin stands from the origin pixel, (x, y).
        defocus: float64 [n, 3], (u, v in Angstrom, angle in degrees).
    """

    conformers: NDArray[np.int64]
    angles_degrees: Floats
    shifts_angstrom: Floats
    defocus: Floats

    def __len__(self) -> int:
        """Number of images."""
        return len(self.conformers)

    def part(self, chosen: slice) -> Views:
        """The views of a range."""
        return Views(
            self.conformers[chosen],
            self.angles_degrees[chosen],
            self.shifts_angstrom[chosen],
            self.defocus[chosen],
        )


def ctf(defocus: Floats, imaging: Imaging) -> Floats:
    """Contrast transfer functions, float64 [n, box, box // 2 + 1], of defocus [n, 3] (u, v, angle).

    The formula and its sign are those of `cryorepro.em.conventions`, "Contrast transfer"; see Rohou &
    Grigorieff, J. Struct. Biol. 192 (2015) 216, equations 2 and 3, doi:10.1016/j.jsb.2015.08.008.
    """
    kx, ky = signed_frequencies(imaging.box_px, imaging.pixel_size_angstrom)
    squared, azimuth = kx**2 + ky**2, np.arctan2(ky, kx)
    wavelength = electron_wavelength_angstrom(imaging.voltage_kv)
    aberration = imaging.spherical_aberration_mm * _MM_IN_ANGSTROM
    u, v, angle = (defocus[:, i, None, None] for i in range(3))
    along = 0.5 * (u + v) + 0.5 * (u - v) * np.cos(2.0 * (azimuth - np.deg2rad(angle)))
    phase = np.pi * wavelength * along * squared - 0.5 * np.pi * aberration * wavelength**3 * squared**2
    transfer: Floats = np.sin(phase + np.arcsin(imaging.amplitude_contrast))
    return transfer


def clean_transforms(models: Sequence[BlobModel], views: Views, imaging: Imaging) -> NDArray[np.complex128]:
    """Transforms (`rfft2`) of the images without noise: projected, shifted, times CTF."""
    box, pixel = imaging.box_px, imaging.pixel_size_angstrom
    out = np.empty((len(views), box, box // 2 + 1), dtype=np.complex128)
    rotations = euler_matrices(views.angles_degrees)
    for number, model in enumerate(models):
        chosen = np.flatnonzero(views.conformers == number)
        out[chosen] = model.project(rotations[chosen], box, pixel)
    kx, ky = signed_frequencies(box, pixel)
    x, y = (views.shifts_angstrom[:, i, None, None] for i in range(2))
    out *= np.exp(-2j * np.pi * (kx * x + ky * y))
    out *= ctf(views.defocus, imaging)
    return out


def signal_scale(models: Sequence[BlobModel], views: Views, imaging: Imaging) -> float:
    """Factor on the models that gives the declared SNR against noise of variance 1.

    Rounded to six figures, so that it is the same number on every machine.
    """
    images = np.fft.irfft2(clean_transforms(models, views, imaging), s=(imaging.box_px,) * 2)
    return float(f"{np.sqrt(imaging.snr / np.mean(images.var(axis=(1, 2)))):.5e}")


def noise_amplitude(imaging: Imaging) -> Floats:
    """Filter [box, box // 2 + 1] that turns white noise into coloured noise of unit variance."""
    kx, ky = signed_frequencies(imaging.box_px, imaging.pixel_size_angstrom)
    power = imaging.noise_floor + (1.0 - imaging.noise_floor) / (1.0 + (kx**2 + ky**2) * imaging.noise_knee_angstrom**2)
    multiplicity = np.full(power.shape, 2.0)  # every column but the first and the last stands for two
    multiplicity[:, [0, -1]] = 1.0
    amplitude: Floats = np.sqrt(power / ((power * multiplicity).sum() / imaging.box_px**2))
    return amplitude


def simulate_images(
    models: Sequence[BlobModel], views: Views, imaging: Imaging, scale: float, stream: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """Yield the images of `views` in order, in chunks of float32 [<= 64, box, box]."""
    colour = noise_amplitude(imaging)
    size = (imaging.box_px, imaging.box_px)
    background = background_mask(imaging.box_px, imaging.background_radius_px)
    for start in range(0, len(views), _CHUNK):
        part = views.part(slice(start, start + _CHUNK))
        white = np.fft.rfft2(stream.standard_normal((len(part), *size)))
        images = np.fft.irfft2(scale * clean_transforms(models, part, imaging) + white * colour, s=size)
        yield quantise(normalise(images, background), PIXEL_QUANTUM).astype(np.float32)


def normalise(images: Floats, background: NDArray[np.bool_]) -> Floats:
    """Give every image a background of mean 0 and standard deviation 1."""
    outside = images[:, background]
    mean, deviation = outside.mean(axis=1), outside.std(axis=1)
    result: Floats = (images - mean[:, None, None]) / deviation[:, None, None]
    return result


def background_mask(box_px: int, radius_px: float) -> NDArray[np.bool_]:
    """Pixels further than `radius_px` from the origin pixel, bool [box, box]."""
    y, x = np.indices((box_px, box_px)) - box_px // 2
    mask: NDArray[np.bool_] = x**2 + y**2 > radius_px**2
    return mask


def quantise(values: Floats, quantum: float) -> Floats:
    """Round to multiples of `quantum`, a power of two."""
    rounded: Floats = np.round(values / quantum) * quantum
    return rounded
