"""A particle in water as the beam sees it: its contrast density, and projections of it by Fourier slices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from cryorepro.em.atomic import AtomicModel, model_density
from cryorepro.em.blobs import euler_matrices
from cryorepro.em.fourier import HalfPlane, half_plane
from cryorepro.em.lowpass import lowpass_map
from cryorepro.em.movie_twin.micelle import Belt, Membrane, belt_variants
from cryorepro.em.projection import Projector

Floats = NDArray[np.float64]
_SOLVENT_SHARE, _SOLVENT_BFACTOR = 0.6, 250.0
_ATOM_BFACTOR = 60.0
_OCCUPIED_ANGSTROM, _OCCUPIED_LEVEL = 9.0, 0.04
_PADDING = 3  # finer than the engines': their interpolation is not repeated here
_BELT_ANGSTROM = 7.5
_BATCH = 64


@dataclass(frozen=True)
class Specimen:
    """Contrast densities in Angstrom of scattering factor per A^3, [n, n, n] in the frame of the poses.

    Attributes:
        protein: Of the protein alone.
        belts: float64 [k, n, n, n], one variant of the detergent each; k may be 0.
        occupied: 1 where protein is, 0 elsewhere, with a soft edge.
        pixel_size_angstrom: Of all of them.
    """

    protein: Floats
    belts: Floats
    occupied: Floats
    pixel_size_angstrom: float

    @property
    def box_px(self) -> int:
        """Voxels along an edge."""
        return int(self.protein.shape[0])

    def mean_map(self) -> Floats:
        """What the average of all particles shows."""
        return self.protein + self.belts.mean(axis=0) if len(self.belts) else self.protein


def build_specimen(
    model: AtomicModel,
    box_px: int,
    pixel_size_angstrom: float,
    stream: np.random.Generator,
    belt: Belt | None = None,
    membrane: Membrane | None = None,
    variants: int = 0,
) -> Specimen:
    """Put a model, centred as it is to be, into water, with a detergent belt where a membrane is given.

    Raises:
        InputError: the model does not fit into the box.
    """
    density = model_density(model, box_px, pixel_size_angstrom, _ATOM_BFACTOR)
    occupied = _occupied(density, pixel_size_angstrom)
    belts = np.empty((0, box_px, box_px, box_px))
    if belt is not None and membrane is not None and variants:
        belts = belt_variants(belt, membrane, 1.0 - occupied, pixel_size_angstrom, variants, stream)
    return Specimen(in_water(density, pixel_size_angstrom), belts, occupied, pixel_size_angstrom)


def in_water(density: Floats, pixel_size_angstrom: float) -> Floats:
    """Density less that of the water it displaces.

    Babinet's principle for a flat solvent, F (1 - share exp(-B s^2 / 4)): Moews & Kretsinger, J. Mol. Biol. 91 (1975)
    201.  The share is water's mean scattering density over protein's.
    """
    box = density.shape[0]
    k = np.fft.fftfreq(box, pixel_size_angstrom)
    squared = k[:, None, None] ** 2 + k[None, :, None] ** 2 + np.fft.rfftfreq(box, pixel_size_angstrom) ** 2
    kept = 1.0 - _SOLVENT_SHARE * np.exp(-0.25 * _SOLVENT_BFACTOR * squared)
    return np.asarray(fft.irfftn(fft.rfftn(density) * kept, s=density.shape))


def _occupied(density: Floats, pixel_size_angstrom: float) -> Floats:
    smooth = lowpass_map(density, _OCCUPIED_ANGSTROM, pixel_size_angstrom)
    return np.asarray(np.clip(smooth / _OCCUPIED_LEVEL - 0.5, 0.0, 1.0))


class Views:
    """Projections of a specimen from any side, each with its own belt."""

    def __init__(self, specimen: Specimen) -> None:
        """Take the densities to Fourier space, once."""
        self._box, self._pixel = specimen.box_px, specimen.pixel_size_angstrom
        self._plane = half_plane(self._box, self._box // 2)
        self._protein = Projector(torch.from_numpy(specimen.protein), self._box // 2, _PADDING)
        reach = min(self._box // 2, math.ceil(self._box * self._pixel / _BELT_ANGSTROM))
        self._coarse = self._plane.prefix(self._plane.coarse_length(reach))
        self._belts = [Projector(torch.from_numpy(belt), reach, _PADDING) for belt in specimen.belts]
        self._mass = float(specimen.protein.sum())
        self._belt_masses = specimen.belts.sum(axis=(1, 2, 3))

    def project(self, angles_degrees: Floats, belts: NDArray[np.int64]) -> Floats:
        """Projected densities in Angstrom of scattering factor per A^2, float64 [n, box, box].

        ``angles_degrees [n, 3]`` are (rot, tilt, psi); ``belts [n]`` says which variant each particle wears.
        """
        rotations = torch.from_numpy(euler_matrices(angles_degrees))
        out = np.empty((len(angles_degrees), self._box, self._box))
        for start in range(0, len(out), _BATCH):
            part = slice(start, start + _BATCH)
            found = self._protein.slices(rotations[part], self._plane)
            for number in range(len(self._belts)):
                wearing = torch.from_numpy(np.flatnonzero(belts[part] == number))
                if len(wearing):
                    slices = self._belts[number].slices(rotations[part][wearing], self._coarse)
                    found[wearing, : len(self._coarse)] += slices
            masses = self._mass + (self._belt_masses[belts[part]] if self._belts else np.zeros(len(found)))
            out[part] = _images(found.numpy(), masses, self._plane) * self._pixel
        return out


def _images(coefficients: NDArray[np.complex128], masses: Floats, plane: HalfPlane) -> Floats:
    """Real images of coefficients [n, p] on a half plane, and of their sums [n], which no half plane holds."""
    box = plane.box_px
    spectrum = np.zeros((len(coefficients), box * (box // 2 + 1)), dtype=np.complex128)
    sign = 1.0 - 2.0 * ((plane.kx + plane.ky) % 2).numpy()
    values = coefficients * (sign * box * box)
    columns = plane.columns.numpy()
    spectrum[:, columns] = values
    spectrum[:, 0] = masses
    on_axis = np.flatnonzero(plane.kx.numpy() == 0)  # the half plane holds one of each pair at kx = 0
    mates = (-plane.ky.numpy()[on_axis]) % box * (box // 2 + 1)
    spectrum[:, mates] = values[:, on_axis].conj()
    return np.asarray(fft.irfft2(spectrum.reshape(-1, box, box // 2 + 1), s=(box, box)))
