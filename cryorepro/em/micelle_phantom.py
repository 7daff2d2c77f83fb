"""A membrane protein of Gaussian blobs in a belt of detergent that no two particles share.

The protein has an outer domain and a bundle that crosses the membrane; both are rigid and have detail to a few
Angstrom.  The belt around the bundle is drawn anew for every particle: its mean is a smooth ring, what one particle
shows is not.  A regularisation that treats both alike lets the belt's noise into the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.blobs import BlobModel
from cryorepro.em.simulate import (
    Imaging,
    Views,
    background_mask,
    clean_transforms,
    noise_amplitude,
    normalise,
    signal_scale,
)
from cryorepro.em.streams import random_stream

Floats = NDArray[np.float64]

# Ellipsoids (centre, semi-axes) in Angstrom with their blobs; z is the membrane's normal.
_OUTER_DOMAIN = (((8.0, 0.0, 42.0), (26.0, 20.0, 16.0), 110), ((-16.0, 10.0, 34.0), (16.0, 14.0, 12.0), 40))
_HELIX_RADIUS, _HELICES, _BLOBS_PER_HELIX, _HELIX_LENGTH = 11.0, 7, 14, 44.0
_SIGMAS_ANGSTROM = (2.2, 2.6, 3.2)
_VIEWS_FOR_SCALE = 64


@dataclass(frozen=True)
class BeltOptions:
    """The belt: a ring about the z axis.

    Attributes:
        inner_angstrom, outer_angstrom, half_height_angstrom: its shape.
        blobs: in each particle's belt, at places of its own.
        sigma_angstrom: of each.
        mass: of the belt over the mass of the protein.
        mass_spread: standard deviation of the mass between particles, as a share.
    """

    inner_angstrom: float = 19.0
    outer_angstrom: float = 44.0
    half_height_angstrom: float = 15.0
    blobs: int = 90
    sigma_angstrom: float = 4.0
    mass: float = 1.0
    mass_spread: float = 0.1


def membrane_protein(seed: int) -> BlobModel:
    """The protein drawn from ``seed``, centred on its mass."""
    stream = random_stream(seed, "phantom/membrane-protein")
    centres = [_ellipsoid(stream, *shape) for shape in _OUTER_DOMAIN] + [_helices(stream)]
    points = np.concatenate(centres)
    sigmas = stream.choice(_SIGMAS_ANGSTROM, size=len(points))
    masses = stream.uniform(0.5, 1.5, size=len(points))
    return BlobModel(points - np.average(points, axis=0, weights=masses), sigmas, masses)


def _ellipsoid(stream: np.random.Generator, centre: tuple[float, ...], axes: tuple[float, ...], count: int) -> Floats:
    directions = stream.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(centre + directions * np.cbrt(stream.random((count, 1))) * axes)


def _helices(stream: np.random.Generator) -> Floats:
    """Blobs along tilted rods about the membrane's normal: one in the middle, the others around it."""
    parts = []
    for helix in range(_HELICES):
        around = 2.0 * np.pi * helix / (_HELICES - 1)
        radius = _HELIX_RADIUS if helix else 0.0
        foot = np.array([radius * np.cos(around), radius * np.sin(around), 0.0])
        axis = np.array([*stream.normal(0.0, 0.15, 2), 1.0])
        along = np.linspace(-0.5, 0.5, _BLOBS_PER_HELIX)[:, None] * _HELIX_LENGTH
        parts.append(foot + along * axis + stream.normal(0.0, 1.2, (_BLOBS_PER_HELIX, 3)))
    return np.concatenate(parts)


def belt(protein: BlobModel, options: BeltOptions, stream: np.random.Generator) -> BlobModel:
    """One particle's belt, in the frame of ``protein``, whose bundle it surrounds."""
    bundle = protein.centres_angstrom[-_HELICES * _BLOBS_PER_HELIX :].mean(axis=0)
    around = stream.uniform(0.0, 2.0 * np.pi, options.blobs)
    inner, outer = options.inner_angstrom, options.outer_angstrom
    radius = np.sqrt(stream.uniform(inner**2, outer**2, options.blobs))
    height = options.half_height_angstrom * stream.uniform(-1.0, 1.0, options.blobs)
    centres = np.stack([radius * np.cos(around), radius * np.sin(around), height], axis=1) + bundle
    mass = options.mass * protein.masses.sum() * max(0.0, 1.0 + options.mass_spread * float(stream.standard_normal()))
    each = np.full(options.blobs, mass / options.blobs)
    return BlobModel(centres, np.full(options.blobs, options.sigma_angstrom), each)


@dataclass(frozen=True)
class MicelleSet:
    """Images ``[n, box, box]`` float32, their views, and the protein in the images' scale.

    ``scale`` multiplies the blobs' masses; ``protein`` is without it.
    """

    images: NDArray[np.float32]
    views: Views
    imaging: Imaging
    protein: BlobModel
    scale: float

    def protein_map(self, low_pass_angstrom: float | None = None) -> Floats:
        """The protein alone, ``[n, n, n]``."""
        imaging = self.imaging
        return self.scale * self.protein.volume(imaging.box_px, imaging.pixel_size_angstrom, low_pass_angstrom)


def micelle_set(
    count: int, imaging: Imaging, options: BeltOptions, seed: int, shift_angstrom: float = 4.0
) -> MicelleSet:
    """Simulate ``count`` particles from uniform views; ``imaging.snr`` is that of the protein alone."""
    stream = random_stream(seed, "micelle/views")
    tilt = np.rad2deg(np.arccos(stream.uniform(-1.0, 1.0, count)))
    angles = np.stack([stream.uniform(-180, 180, count), tilt, stream.uniform(-180, 180, count)], axis=1)
    shifts = stream.normal(0.0, shift_angstrom, (count, 2)).clip(-3.0 * shift_angstrom, 3.0 * shift_angstrom)
    u = stream.uniform(8_000.0, 22_000.0, count)
    defocus = np.stack([u, u - stream.uniform(0, 300, count), stream.uniform(0, 180, count)], axis=1)
    views = Views(np.zeros(count, dtype=np.int64), angles, shifts, defocus)
    protein = membrane_protein(seed)
    scale = signal_scale((protein,), views.part(slice(0, _VIEWS_FOR_SCALE)), imaging)
    images = _images(protein, options, views, imaging, scale, seed)
    return MicelleSet(images, views, imaging, protein, scale)


def _images(
    protein: BlobModel, options: BeltOptions, views: Views, imaging: Imaging, scale: float, seed: int
) -> NDArray[np.float32]:
    size = (imaging.box_px, imaging.box_px)
    colour, noise = noise_amplitude(imaging), random_stream(seed, "micelle/noise")
    belts = random_stream(seed, "micelle/belts")
    clean = clean_transforms((protein,), views, imaging)
    for number in range(len(views)):
        own = belt(protein, options, belts)
        clean[number] += clean_transforms((own,), views.part(slice(number, number + 1)), imaging)[0]
    white = np.fft.rfft2(noise.standard_normal((len(views), *size)))
    images = np.fft.irfft2(scale * clean + white * colour, s=size)
    return normalise(images, background_mask(imaging.box_px, imaging.background_radius_px)).astype(np.float32)
