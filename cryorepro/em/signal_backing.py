"""Whether the resolution that two half maps report is backed by signal, or by the particle being round.

Particles at random poses give two independent half maps of nearly the same spherical average, and their Fourier
shell correlation crosses 0.143 at a respectable figure although there is no structure in either.  What such maps
lack is everything but the spherical average: without it they agree no further than the particle is round.  The
control is made from the particles themselves: the same images, halves and symmetry, the orientations random.

Symmetry leaves few independent coefficients in a shell, and the correlation of noise in them is wide.  A shell counts
as agreeing without the averages only when its correlation is above the threshold and above two standard deviations of
noise, 1 / sqrt(2 m) for m independent complex coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.fsc import Curve, crossing, fsc_curve, shell_to_angstrom
from cryorepro.em.half_sets import unregularised
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.lowpass import Map
from cryorepro.em.pose_reconstruction import sums_from_poses
from cryorepro.em.rotations import matrix_to_euler, random_rotations
from cryorepro.em.spherical import without_spherical_average

GOLD_STANDARD = 0.143
_SHELLS_BEYOND_CONTROL = 2
"""What a run must reach beyond the furthest of its controls."""
_SIGMAS, _HIGHEST_LIMIT = 2.0, 0.9
_BACKED_FRACTION = 0.75


@dataclass(frozen=True)
class Backing:
    """How far two half maps agree, how far without their spherical averages, and how far random poses do.

    ``plain``, ``aspherical`` and each of ``controls`` are FSC curves ``[n // 2 + 1]``; the controls are aspherical.
    """

    plain: Curve
    aspherical: Curve
    controls: tuple[Curve, ...]
    threshold: float
    symmetry_order: int = 1

    @property
    def limit(self) -> Curve:
        """The correlation each shell must have to count, ``[n // 2 + 1]``: threshold, or two deviations of noise."""
        shells = np.maximum(np.arange(len(self.plain), dtype=np.float64), 1.0)
        independent = 2.0 * np.pi * shells**2 / self.symmetry_order
        noise = np.minimum(_SIGMAS / np.sqrt(2.0 * independent), _HIGHEST_LIMIT)
        return np.asarray(np.maximum(noise, self.threshold))

    @property
    def nominal_shell(self) -> int:
        """Last shell before the FSC of the half maps as they are falls below the threshold."""
        return crossing(self.plain, self.threshold).shell

    @property
    def aspherical_shell(self) -> int:
        """Last shell that agrees without the spherical averages, all before it agreeing too."""
        return self._end(self.aspherical)

    @property
    def control_shell(self) -> int:
        """The furthest of the random-pose controls; 0 without any."""
        return max((self._end(curve) for curve in self.controls), default=0)

    @property
    def backed_shell(self) -> int:
        """Last shell backed by signal: none when the halves agree no further than random poses do.

        It is never beyond the nominal one: a curve that hugs the threshold may cross it later without the averages.
        """
        beyond = self.aspherical_shell > self.control_shell + _SHELLS_BEYOND_CONTROL
        return min(self.aspherical_shell, self.nominal_shell) if beyond or not self.controls else 0

    @property
    def backed(self) -> bool:
        """Whether signal backs the reported resolution, but for a quarter of its shells: the two limits differ."""
        return self.backed_shell >= _BACKED_FRACTION * self.nominal_shell > 0

    def _end(self, curve: Curve) -> int:
        below = np.flatnonzero(curve[1:] < self.limit[1:])
        return int(below[0]) if below.size else len(curve) - 1

    def sentence(self, box_px: int, pixel_size_angstrom: float) -> str:
        """What was found, for a person."""

        def shown(shell: int) -> str:
            return f"{shell_to_angstrom(shell, box_px, pixel_size_angstrom):.1f} A (shell {shell})"

        nominal, left = shown(self.nominal_shell), shown(self.aspherical_shell)
        if self.backed:
            shell = shown(self.backed_shell)
            return f"resolution backed by signal: half maps agree to {nominal}, to {shell} without spherical averages"
        control = ""
        if self.controls:
            reached = shown(self.control_shell) if self.control_shell else "no shell"
            control = f"; the same particles at random poses reach {reached}"
        return (
            f"resolution not backed by signal: the half maps agree to {nominal}, but without their spherical averages"
            f" only to {left}{control}: a round particle correlates with itself"
        )


def measure_backing(
    half1: Map, half2: Map, controls: Sequence[Curve] = (), threshold: float = GOLD_STANDARD, symmetry_order: int = 1
) -> Backing:
    """Hold two unfiltered half maps ``[n, n, n]`` against random-pose controls, made under the same symmetry.

    Raises:
        InputError: the maps are not finite cubes of one size.
    """
    plain = fsc_curve(half1, half2)
    aspherical = fsc_curve(without_spherical_average(half1), without_spherical_average(half2))
    return Backing(plain, aspherical, tuple(controls), threshold, symmetry_order)


def random_pose_control(images: ImageSet, origin_px: Tensor, halves: Tensor, symmetry: Tensor, seed: int) -> Curve:
    """Aspherical FSC ``[n // 2 + 1]`` of two halves reconstructed with every orientation drawn at random.

    Args:
        images: the particles.
        origin_px: ``[n, 2]`` shifts that centre them; kept, so that the spherical average stays as sharp.
        halves: ``[n]``, 1 or 2.
        symmetry: point group ``[s, 3, 3]`` imposed, as in the run.
        seed: of the orientations.
    """
    generator = torch.Generator().manual_seed(seed)
    euler = matrix_to_euler(random_rotations(len(images), generator))
    poses = Poses.start(len(images), origin_px, euler)
    volumes = [reconstruct_half(images, poses, halves == half, symmetry) for half in (1, 2)]
    return fsc_curve(*(without_spherical_average(volume) for volume in volumes))


def reconstruct_half(images: ImageSet, poses: Poses, chosen: Tensor, symmetry: Tensor) -> Map:
    """Unfiltered map ``[n, n, n]`` float64 of the particles where ``chosen [n]`` is true, at the poses given."""
    radius = images.box_px // 2 - 1
    index = torch.nonzero(chosen)[:, 0]
    sums = sums_from_poses(images, poses, index, radius, symmetry)
    return np.asarray(unregularised([sums], images.box_px, radius)[0].numpy(), dtype=np.float64)
