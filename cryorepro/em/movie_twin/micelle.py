"""Detergent about a membrane protein: a belt of heads around a core of tails, no two particles' alike.

The belt is an oblate shell about the axis of the transmembrane part.  Tails scatter hardly more than water, heads more.
Each variant has its own size, place and texture: their mean is smooth, what one particle shows is not, and a refinement
that regularises the belt as it does the protein fits that noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryorepro.em.atomic import AtomicModel
from cryorepro.em.errors import InputError

Floats = NDArray[np.float64]
_EDGE_ANGSTROM = 2.5
_TEXTURE_ANGSTROM = (9.0, 30.0)


@dataclass(frozen=True)
class Belt:
    """Sizes in Angstrom and contrasts with water in Angstrom of scattering factor per A^3.

    Attributes:
        radius, half_height: Semi-axes of the whole belt, across and along the membrane's normal.
        heads: Thickness of the shell of heads.
        head_contrast, tail_contrast: Protein has about 0.07.
        texture: Standard deviation of the heads' density over itself.
        size_spread: Standard deviation of the belt's size between particles, as a share.
        place_spread: Standard deviation of its place in each direction.
    """

    radius: float = 47.0
    half_height: float = 26.0
    heads: float = 9.0
    head_contrast: float = 0.055
    tail_contrast: float = 0.008
    texture: float = 0.7
    size_spread: float = 0.05
    place_spread: float = 2.5


@dataclass(frozen=True)
class Membrane:
    """Middle of the transmembrane part in Angstrom, and the membrane's normal, (x, y, z)."""

    centre: Floats
    normal: Floats


def find_membrane(model: AtomicModel, chain: str) -> Membrane:
    """The long axis of a chain's C-alpha atoms and their middle.

    Raises:
        InputError: the model has no such chain.
    """
    if len(model.traces.get(chain, {})) < 20:
        raise InputError(f"model {model.name}: chain {chain}, whose place in the membrane is needed, is not in it")
    trace = model.positions_angstrom[list(model.traces[chain].values())]
    centre = trace.mean(axis=0)
    normal = np.linalg.svd(trace - centre, full_matrices=False)[2][0]
    return Membrane(np.round(centre, 3), np.round(normal / np.sign(normal[np.abs(normal).argmax()]), 6))


def belt_variants(
    belt: Belt,
    membrane: Membrane,
    free: Floats,
    pixel_size_angstrom: float,
    count: int,
    stream: np.random.Generator,
) -> Floats:
    """Contrast densities of ``count`` belts, float64 [count, n, n, n].

    ``free [n, n, n]`` is 1 where there is no protein and 0 where there is.
    """
    box = free.shape[0]
    axis = (np.arange(box) - box // 2) * pixel_size_angstrom
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")[::-1], axis=-1)  # (x, y, z) of [z, y, x]
    found = np.empty((count, box, box, box))
    for number in range(count):
        scale = 1.0 + belt.size_spread * float(stream.standard_normal())
        place = membrane.centre + belt.place_spread * stream.standard_normal(3)
        texture = 1.0 + belt.texture * _texture(box, pixel_size_angstrom, stream)
        found[number] = _one(belt, grid - place, membrane.normal, scale, texture) * free
    return found


def _one(belt: Belt, points: Floats, normal: Floats, scale: float, texture: Floats) -> Floats:
    along = points @ normal
    across = np.sqrt(np.maximum(np.square(points).sum(axis=-1) - along**2, 0.0))
    outer = _filled(across, along, scale * belt.radius, scale * belt.half_height)
    inner = _filled(across, along, scale * belt.radius - belt.heads, scale * belt.half_height - belt.heads)
    return np.asarray(belt.head_contrast * (outer - inner) * np.maximum(texture, 0.0) + belt.tail_contrast * inner)


def _filled(across: Floats, along: Floats, radius: float, half_height: float) -> Floats:
    """1 inside an ellipsoid of revolution, 0 outside, with a soft edge."""
    level = np.sqrt((across / radius) ** 2 + (along / half_height) ** 2)
    distance = (level - 1.0) * half_height  # near enough where the edge is
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(distance / (0.5 * _EDGE_ANGSTROM), -60.0, 60.0))))


def _texture(box: int, pixel_size_angstrom: float, stream: np.random.Generator) -> Floats:
    """Noise of unit variance between two resolutions, [n, n, n]."""
    k = np.fft.fftfreq(box, pixel_size_angstrom)
    radius = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + np.fft.rfftfreq(box, pixel_size_angstrom) ** 2)
    band = (radius < 1.0 / _TEXTURE_ANGSTROM[0]) & (radius > 1.0 / _TEXTURE_ANGSTROM[1])
    noise = fft.irfftn(fft.rfftn(stream.standard_normal((box, box, box))) * band, s=(box, box, box))
    return np.asarray(noise / noise.std())
