"""Whether the resolution that two half maps report is backed by signal, or by the particle being round.

Particles at random poses give two independent half maps of nearly the same spherical average, and their Fourier
shell correlation crosses 0.143 at a respectable figure although there is no structure in either.  What such maps
lack is everything but the spherical average: without it they agree no further than the particle is round.  The
control is made from the particles themselves: the same images, halves and symmetry, the orientations random.
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
"""Controls of different seeds end within this many shells of each other."""


@dataclass(frozen=True)
class Backing:
    """How far two half maps agree, how far without their spherical averages, and how far random poses do.

    ``plain``, ``aspherical`` and each of ``controls`` are FSC curves ``[n // 2 + 1]``; the controls are aspherical.
    """

    plain: Curve
    aspherical: Curve
    controls: tuple[Curve, ...]
    threshold: float

    @property
    def nominal_shell(self) -> int:
        """Last shell before the FSC of the half maps as they are falls below the threshold."""
        return crossing(self.plain, self.threshold).shell

    @property
    def aspherical_shell(self) -> int:
        """The same without the spherical averages."""
        return crossing(self.aspherical, self.threshold).shell

    @property
    def control_shell(self) -> int:
        """The furthest of the random-pose controls; 0 without any."""
        return max((crossing(curve, self.threshold).shell for curve in self.controls), default=0)

    @property
    def backed_shell(self) -> int:
        """Last shell backed by signal: none when the halves agree no further than random poses do.

        It is never beyond the nominal one: a curve that hugs the threshold may cross it later without the averages.
        """
        beyond = self.aspherical_shell > self.control_shell + _SHELLS_BEYOND_CONTROL
        return min(self.aspherical_shell, self.nominal_shell) if beyond or not self.controls else 0

    @property
    def backed(self) -> bool:
        """Whether the reported resolution is that of the signal, but for a tenth of its shells."""
        return self.backed_shell >= 0.9 * self.nominal_shell > 0

    def sentence(self, box_px: int, pixel_size_angstrom: float) -> str:
        """What was found, for a person."""

        def shown(shell: int) -> str:
            return f"{shell_to_angstrom(shell, box_px, pixel_size_angstrom):.1f} A (shell {shell})"

        nominal, left = shown(self.nominal_shell), shown(self.aspherical_shell)
        if self.backed:
            return f"resolution backed by signal: half maps agree to {nominal}, to {left} without spherical averages"
        control = ""
        if self.controls:
            further = "no further than" if self.backed_shell == 0 else "where"
            control = f", {further} the same particles at random poses ({shown(self.control_shell)})"
        return (
            f"resolution not backed by signal: the half maps agree to {nominal}, but without their spherical averages"
            f" only to {left}{control}; a round particle correlates with itself"
        )


def measure_backing(
    half1: Map, half2: Map, controls: Sequence[Curve] = (), threshold: float = GOLD_STANDARD
) -> Backing:
    """Hold two unfiltered half maps ``[n, n, n]`` against random-pose controls.

    Raises:
        InputError: the maps are not finite cubes of one size.
    """
    plain = fsc_curve(half1, half2)
    aspherical = fsc_curve(without_spherical_average(half1), without_spherical_average(half2))
    return Backing(plain, aspherical, tuple(controls), threshold)


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
