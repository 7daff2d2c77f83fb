"""The optics of one movie: defocus with its astigmatism, and the plane it follows across a tilted specimen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.conventions import electron_wavelength_angstrom

Floats = NDArray[np.float64]
_MM_IN_ANGSTROM = 1.0e7
_REST_ENERGY_KEV = 510.99895


@dataclass(frozen=True)
class Microscope:
    """What all movies share: kV, mm, a fraction, and the B-factor of the envelope in A^2."""

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    envelope_bfactor_angstrom2: float

    @property
    def wavelength_angstrom(self) -> float:
        """Of the electrons."""
        return electron_wavelength_angstrom(self.voltage_kv)

    @property
    def phase_per_projected_density(self) -> float:
        """Phase shift in rad of one Angstrom of scattering factor per A^2.

        wavelength times (1 + E / (m c^2)): Reimer & Kohl, Transmission Electron Microscopy, eq. 3.18 with the
        first Born approximation between potential and scattering factor.
        """
        return self.wavelength_angstrom * (1.0 + self.voltage_kv / _REST_ENERGY_KEV)


@dataclass(frozen=True)
class MovieDefocus:
    """Defocus in Angstrom in the middle of a micrograph, and how it changes per pixel along x and y.

    Attributes:
        u_angstrom, v_angstrom, angle_deg: As RELION has them.
        gradient: (x, y), Angstrom per pixel; positive where defocus grows.
        shape: (rows, columns) of the micrograph.
    """

    u_angstrom: float
    v_angstrom: float
    angle_deg: float
    gradient: tuple[float, float]
    shape: tuple[int, int]

    def offset(self, points_px: Floats) -> Floats:
        """What the plane adds at ``points_px [n, 2]`` (x, y), in Angstrom."""
        middle = np.array([self.shape[1] / 2.0, self.shape[0] / 2.0])
        return np.asarray((points_px - middle) @ np.asarray(self.gradient))

    @property
    def reach_angstrom(self) -> float:
        """Greatest offset of the plane, at a corner."""
        return abs(self.gradient[0]) * self.shape[1] / 2.0 + abs(self.gradient[1]) * self.shape[0] / 2.0


@dataclass(frozen=True)
class DefocusRange:
    """From what defocus is drawn, in Angstrom.

    Attributes:
        lowest_angstrom, highest_angstrom: Mean defocus, uniform between them.
        small_astigmatism_angstrom: Most movies have up to this.
        large_astigmatism_angstrom: The others have up to this, and at least 220.
        astigmatic_share: How many of all movies the others are.
        plane_angstrom: Greatest offset of the plane, at a corner, in the most tilted movie.
    """

    lowest_angstrom: float
    highest_angstrom: float
    small_astigmatism_angstrom: float
    large_astigmatism_angstrom: float
    astigmatic_share: float
    plane_angstrom: float


def draw_defocus(
    stream: np.random.Generator, movies: int, given: DefocusRange, shape: tuple[int, int]
) -> list[MovieDefocus]:
    """Draw the optics of all movies; rounded as the truth is written.

    Means are one per equal part of the range, in random order, so that few movies still span it.
    """
    step = (given.highest_angstrom - given.lowest_angstrom) / movies
    means = given.lowest_angstrom + step * (stream.permutation(movies) + stream.random(movies))
    strong = stream.permutation(movies) < round(given.astigmatic_share * movies)
    splits = np.where(
        strong,
        stream.uniform(min(220.0, given.large_astigmatism_angstrom), given.large_astigmatism_angstrom, movies),
        stream.uniform(0.0, given.small_astigmatism_angstrom, movies),
    )
    angles, directions = stream.uniform(0.0, 180.0, movies), stream.uniform(0.0, 2.0 * np.pi, movies)
    reach = given.plane_angstrom * stream.uniform(0.2, 1.0, movies)
    found = []
    for mean, split, angle, direction, far in zip(means, splits, angles, directions, reach, strict=True):
        across = abs(np.cos(direction)) * shape[1] / 2.0 + abs(np.sin(direction)) * shape[0] / 2.0
        slope = far / across
        found.append(
            MovieDefocus(
                round(float(mean + split / 2.0), 1),
                round(float(mean - split / 2.0), 1),
                round(float(angle), 2),
                (round(float(slope * np.cos(direction)), 5), round(float(slope * np.sin(direction)), 5)),
                shape,
            )
        )
    return found


@dataclass(frozen=True)
class Frequencies:
    """Of an ``rfft2``, in 1/A: squared length and azimuth, [rows, columns // 2 + 1]; kx and ky as row and column."""

    kx: Floats
    ky: Floats
    squared: Floats
    double_cosine: Floats
    double_sine: Floats

    @property
    def radius(self) -> Floats:
        """Length in 1/A."""
        return np.sqrt(self.squared)


def frequencies(shape: tuple[int, int], pixel_size_angstrom: float) -> Frequencies:
    """Frequencies of images of ``shape`` (rows, columns)."""
    ky: Floats = np.fft.fftfreq(shape[0], pixel_size_angstrom).astype(np.float64)[:, None]
    kx: Floats = np.fft.rfftfreq(shape[1], pixel_size_angstrom).astype(np.float64)[None]
    squared = kx**2 + ky**2
    safe = np.where(squared > 0.0, squared, 1.0)
    return Frequencies(kx, ky, squared, (kx**2 - ky**2) / safe, 2.0 * kx * ky / safe)


def transfer(found: MovieDefocus, offset_angstrom: float, microscope: Microscope, at: Frequencies) -> Floats:
    """CTF times envelope at the frequencies, the defocus raised by ``offset_angstrom``.

    The formula and its sign are those of `cryorepro.em.conventions`, "Contrast transfer": Rohou & Grigorieff,
    J. Struct. Biol. 192 (2015) 216, equations 2 and 3.  cos 2 (a - angle) is expanded, which saves the azimuths.
    """
    wavelength = microscope.wavelength_angstrom
    aberration = microscope.spherical_aberration_mm * _MM_IN_ANGSTROM
    twice = 2.0 * np.deg2rad(found.angle_deg)
    mean = 0.5 * (found.u_angstrom + found.v_angstrom) + offset_angstrom
    half_split = 0.5 * (found.u_angstrom - found.v_angstrom)
    along = mean + half_split * (at.double_cosine * np.cos(twice) + at.double_sine * np.sin(twice))
    phase = np.pi * wavelength * along * at.squared - 0.5 * np.pi * aberration * wavelength**3 * at.squared**2
    envelope = np.exp(-0.25 * microscope.envelope_bfactor_angstrom2 * at.squared)
    values: Floats = np.sin(phase + np.arcsin(microscope.amplitude_contrast)) * envelope
    return values
