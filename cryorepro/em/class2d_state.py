"""Settings of a 2D classification, and everything one iteration hands to the next."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cryorepro.em.imageset import Poses


@dataclass(frozen=True)
class Class2DSettings:
    """Parameters by the names of the stage's own record; defaults are RELION's.

    Ranges are the caller's to check. ``ini_high_angstrom`` None starts at shell ``round(0.07 box)``. In the first
    ``early_iterations`` classes count alike and shifts stay near the centre; the program takes 0 for given references.
    """

    particle_diameter_angstrom: float
    number_of_classes: int = 1
    iterations: int = 50
    tau2_fudge: float = 1.0
    ini_high_angstrom: float | None = None
    psi_step_degrees: float = 10.0
    oversampling: int = 1
    offset_range_px: float = 6.0
    offset_step_px: float = 2.0
    offset_sigma_angstrom: float = 10.0
    fix_offset_sigma: bool = False
    ctf: bool = True
    ctf_intact_first_peak: bool = False
    flatten_solvent: bool = False
    zero_mask: bool = False
    norm: bool = False
    scale: bool = False
    perturbation: float = 0.5
    adaptive_fraction: float = 0.999
    strict_highres_angstrom: float | None = None
    fast_subsets: bool = False
    early_iterations: int = 5
    padding: int = 2


@dataclass(frozen=True)
class Class2DState:
    """The model and poses after an iteration; what the next one needs and what the files say.

    Attributes:
        iteration: 0 before the first.
        averages: ``[k, n, n]`` float32, as written to the stack of class averages.
        poses: of all particles; rot and tilt are 0.
        sigma2: ``[noise groups, n / 2 + 1]`` float64 noise variance per component.
        class_fractions: ``[k]`` float64 prior probability of each class; sums to 1.
        class_offset_px: ``[k, 2]`` float64 (x, y), centre of the offsets' prior in each class.
        tau2, reference_sigma2, data_vs_prior, coverage: ``[k, n / 2 + 1]`` float64 spectra of the averages.
        scale: ``[scale groups]`` float64.
        offset_sigma_angstrom: deviation of the offsets' prior.
        average_norm: mean of the particles' norms.
        perturbation: of the grid, in units of its step.
        resolution_shell: last shell whose signal exceeds the noise in some class.
        image_radius: Fourier radius this iteration compared images in (0 before the first).
        log_likelihood: sum over the particles of the iteration.
        average_pmax: mean posterior of the best sample.
    """

    iteration: int
    averages: Tensor
    poses: Poses
    sigma2: Tensor
    class_fractions: Tensor
    class_offset_px: Tensor
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
