"""Settings of a model from nothing, what changes from one iteration to the next, and the course of a job."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cryorepro.em.class3d_state import Class3DState


@dataclass(frozen=True)
class InitialModelSettings:
    """Parameters by the names of the stage's own record; ranges are the caller's to check.

    The job has three phases. In the first a single map is found at ``initial_resolution_angstrom`` from mini-batches
    of ``initial_subset`` particles; in the second resolution and batches grow, and classes part; in the last they
    stay at their final values.
    """

    particle_diameter_angstrom: float
    number_of_classes: int = 1
    initial_iterations: int = 50
    inbetween_iterations: int = 200
    final_iterations: int = 50
    initial_resolution_angstrom: float = 35.0
    final_resolution_angstrom: float = 15.0
    initial_subset: int = 100
    final_subset: int = 500
    noise_factor: float = 1.0
    step_size: float = 0.5
    final_step_size: float = 0.2
    momentum: float = 0.9
    tau2_fudge: float = 4.0
    symmetry: str = "C1"
    symmetrise_during: bool = False
    healpix_order: int = 1
    oversampling: int = 1
    offset_range_px: float = 6.0
    offset_step_px: float = 2.0
    offset_sigma_angstrom: float = 10.0
    ctf: bool = True
    positivity: bool = True
    centre: bool = True
    zero_mask: bool = True
    perturbation: float = 0.5
    adaptive_fraction: float = 0.999
    padding: int = 2

    @property
    def iterations(self) -> int:
        """Of all three phases."""
        return self.initial_iterations + self.inbetween_iterations + self.final_iterations

    @property
    def running_symmetry(self) -> str:
        """The point group that is imposed in every iteration."""
        return self.symmetry if self.symmetrise_during else "C1"


@dataclass(frozen=True)
class InitialModelState:
    """Everything the next iteration needs.

    Attributes:
        model: maps, poses, noise and spectra, as a classification carries them. Particles that no mini-batch has
            held yet keep the poses of the start.
        velocity: ``[k, n, n, n]`` float32, the running mean of the preconditioned gradient.
        curvature: ``[k, n / 2 + 1]`` float64, the running mean of each shell's weight in the mini-batches.
    """

    model: Class3DState
    velocity: Tensor
    curvature: Tensor

    @property
    def iteration(self) -> int:
        """0 before the first."""
        return self.model.iteration
