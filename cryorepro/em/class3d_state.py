"""Settings of a 3D classification, and everything one iteration hands to the next."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cryorepro.em.imageset import Poses


@dataclass(frozen=True)
class Class3DSettings:
    """Parameters by the names of the stage's own record; defaults are RELION's.

    Ranges are the caller's to check. ``symmetry`` is a point group's name; ``mask`` None flattens with a sphere
    of the particle's diameter.
    """

    particle_diameter_angstrom: float
    number_of_classes: int = 1
    iterations: int = 25
    tau2_fudge: float = 1.0
    ini_high_angstrom: float | None = None
    healpix_order: int = 2
    oversampling: int = 1
    offset_range_px: float = 5.0
    offset_step_px: float = 2.0
    offset_sigma_angstrom: float = 10.0
    fix_offset_sigma: bool = False
    symmetry: str = "C1"
    firstiter_cc: bool = False
    ctf: bool = True
    ctf_corrected_ref: bool = False
    flatten_solvent: bool = False
    zero_mask: bool = False
    norm: bool = False
    scale: bool = False
    perturbation: float = 0.5
    adaptive_fraction: float = 0.999
    strict_highres_angstrom: float | None = None
    padding: int = 2
    reduced_precision: bool = True


@dataclass(frozen=True)
class Class3DState:
    """The model and poses after an iteration; what the next one needs and what the files say.

    Attributes:
        iteration: 0 before the first.
        volumes: ``[k, n, n, n]`` float32, as written to the maps.
        poses: of all particles.
        sigma2: ``[noise groups, n / 2 + 1]`` float64 noise variance per component.
        direction_prior: ``[k, d]`` float64 probability of class and direction; sums to 1.
        tau2, reference_sigma2, data_vs_prior, coverage: ``[k, n / 2 + 1]`` float64 spectra of the references.
        scale: ``[scale groups]`` float64.
        offset_sigma_angstrom: deviation of the offsets' prior.
        average_norm: mean of the particles' norms.
        perturbation: of the grid, in units of its step.
        resolution_shell: last shell whose signal exceeds the noise in some class.
        image_radius: Fourier radius this iteration compared images in (0 before the first).
        log_likelihood: sum over particles (mean cross-correlation after an iteration scored by it).
        average_pmax: mean posterior of the best sample.
    """

    iteration: int
    volumes: Tensor
    poses: Poses
    sigma2: Tensor
    direction_prior: Tensor
    tau2: Tensor
    reference_sigma2: Tensor
    data_vs_prior: Tensor
    coverage: Tensor
    scale: Tensor
    offset_sigma_angstrom: float
    average_norm: float
    perturbation: float
    resolution_shell: int
    image_radius: int
    log_likelihood: float
    average_pmax: float

    @property
    def class_fractions(self) -> Tensor:
        """``[k]`` share of the particles in each class."""
        return self.direction_prior.sum(dim=1)
