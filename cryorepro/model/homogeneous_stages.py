"""Typed parameters of homogeneous and non-uniform refinement; lengths named with their units.

Names are those of the published jobs where they have one; a default is CryoSPARC's where it is known and fits data of
any pixel size.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.stages import Angstrom, Symmetry


class HomogeneousRefinementParameters(Record):
    """Gold-standard refinement of one structure by branch and bound."""

    symmetry: Symmetry = "C1"
    particle_diameter_angstrom: Angstrom | None = Field(None, description="0.85 of the box if not given")
    ini_high_angstrom: Angstrom = Field(30.0, description="low-pass of the first reference")
    maximum_iterations: int = Field(30, ge=1, le=999)
    iterations_without_gain: int = Field(2, ge=1, le=99, description="in resolution, after which it ends")
    highest_resolution_angstrom: Angstrom | None = Field(
        None, description="compared in the alignment; what the FSC allows if not given"
    )
    join_halves_angstrom: Angstrom = Field(40.0, description="to this resolution the halves share their sums")
    healpix_order: int = Field(3, ge=1, le=4, description="of the first grid of orientations")
    shift_range_px: float | None = Field(
        None, ge=0, le=200, description="first search; a tenth of the box if not given"
    )
    shift_step_px: float = Field(1.5, gt=0, le=20)
    pose: Literal["maximise", "marginalise"] = Field("maximise", description="the best pose, or a mean over poses")
    interpolation: Literal["linear", "cubic"] = "linear"
    per_particle_scale: bool = True
    dynamic_mask: bool = Field(True, description="made from the map of every iteration, unless inputs.mask is given")
    mask_threshold: float = Field(0.2, gt=0, lt=1, description="of the map's highest density")
    mask_lowpass_angstrom: Angstrom = 12.0
    mask_near_angstrom: float = Field(6.0, ge=0, le=1000, description="from the threshold to where the mask falls")
    mask_far_angstrom: float = Field(14.0, gt=0, le=1000, description="from the threshold to where it ends")
    ctf: bool = True
    padding: int = Field(2, ge=1, le=3)

    @model_validator(mode="after")
    def _mask_falls(self) -> HomogeneousRefinementParameters:
        if self.mask_far_angstrom <= self.mask_near_angstrom:
            raise ValueError(
                f"mask_far_angstrom ({self.mask_far_angstrom:g}) must exceed "
                f"mask_near_angstrom ({self.mask_near_angstrom:g})"
            )
        return self


class NonUniformRefinementParameters(HomogeneousRefinementParameters):
    """The same with a low-pass of its own for every voxel, chosen by cross-validation between the halves."""

    regularisation: Literal["lowpass", "bands"] = Field(
        "lowpass", description="one low-pass for each voxel, or a gain for each band at each voxel"
    )
    filter_order: float = Field(8.0, ge=1, le=64, description="of the Butterworth low-passes that make the bands")
    window_factor: float = Field(3.0, ge=0.5, le=20, description="neighbourhood, in wavelengths of the filter")
    filters: int = Field(20, ge=3, le=200, description="bands, or low-passes to choose from")
