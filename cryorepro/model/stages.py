"""Typed parameters of the stages the framework knows, one model per stage kind.

Names follow RELION's options with units added; defaults are RELION's own unless the field says otherwise.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from cryorepro.model.base import Record

Angstrom = Annotated[float, Field(gt=0, le=10_000)]
Symmetry = Annotated[str, Field(pattern=r"^(C[1-9]\d?|D[1-9]\d?|T|O|I|I[1-4])$")]


class Class3DParameters(Record):
    """3D classification against one or more references."""

    number_of_classes: int = Field(1, ge=1, le=100)
    iterations: int = Field(25, ge=1, le=999)
    tau2_fudge: float = Field(1.0, gt=0, le=100)
    particle_diameter_angstrom: Angstrom
    ini_high_angstrom: Angstrom | None = None
    healpix_order: int = Field(2, ge=0, le=7)
    oversampling: int = Field(1, ge=0, le=3)
    offset_range_px: float = Field(5.0, ge=0, le=100)
    offset_step_px: float = Field(2.0, gt=0, le=100)
    offset_sigma_angstrom: float = Field(10.0, gt=0, le=100_000)
    fix_offset_sigma: bool = False
    symmetry: Symmetry = "C1"
    firstiter_cc: bool = False
    ctf: bool = True
    ctf_corrected_ref: bool = False
    flatten_solvent: bool = False
    zero_mask: bool = False
    norm: bool = False
    scale: bool = False
    perturbation: float = Field(0.5, ge=0, le=1)
    adaptive_fraction: float = Field(0.999, gt=0, le=1)
    strict_highres_angstrom: Angstrom | None = None
    padding: int = Field(2, ge=1, le=3)
    pool: int = Field(30, ge=1, le=1000)
    reduced_precision: bool = Field(
        True, description="the coarse pass of our engine may round its products' inputs to bfloat16; others ignore it"
    )


class Refine3DParameters(Record):
    """Gold-standard refinement of two independent halves."""

    particle_diameter_angstrom: Angstrom
    ini_high_angstrom: Angstrom
    symmetry: Symmetry = "C1"
    healpix_order: int = Field(2, ge=0, le=7)
    auto_local_healpix_order: int = Field(4, ge=0, le=7)
    oversampling: int = Field(1, ge=0, le=3)
    offset_range_px: float = Field(5.0, ge=0, le=100)
    offset_step_px: float = Field(2.0, gt=0, le=100)
    offset_sigma_angstrom: float = Field(10.0, gt=0, le=100_000)
    fix_offset_sigma: bool = False
    low_resol_join_halves_angstrom: Angstrom = 40.0
    solvent_correct_fsc: bool = False
    strict_highres_angstrom: Angstrom | None = None
    maximum_iterations: int = Field(50, ge=1, le=999)
    firstiter_cc: bool = False
    ctf: bool = True
    ctf_corrected_ref: bool = True
    flatten_solvent: bool = True
    zero_mask: bool = True
    norm: bool = True
    scale: bool = True
    perturbation: float = Field(0.5, ge=0, le=1)
    adaptive_fraction: float = Field(0.999, gt=0, le=1)
    padding: int = Field(2, ge=1, le=3)
    pool: int = Field(30, ge=1, le=1000)
    use_input_poses: bool = False
    mpi_ranks: int = Field(3, ge=1, le=1024, description="ranks of an MPI runner; others ignore it")


class MaskCreateParameters(Record):
    """A soft mask from a map: low-pass, threshold, extend, soft edge."""

    threshold: float = Field(description="map value above which a voxel belongs to the particle")
    lowpass_angstrom: Angstrom | None = None
    extend_px: float = Field(3.0, ge=0, le=200)
    soft_edge_px: float = Field(6.0, ge=0, le=200)


class PostProcessParameters(Record):
    """Solvent-corrected FSC and sharpening of two half maps."""

    automatic_bfactor: bool = True
    bfactor_angstrom2: float | None = Field(None, ge=-5000, le=0)
    lowest_resolution_angstrom: Angstrom = 10.0
    highest_resolution_angstrom: Angstrom | None = Field(None, description="of the fit; Nyquist if not given")
    randomise_at_fsc: float = Field(0.8, gt=0, lt=1)
    randomise_from_angstrom: Angstrom | None = None
    skip_fsc_weighting: bool = False
    lowpass_angstrom: Angstrom | None = None
    mtf_pixel_size_angstrom: float | None = Field(None, gt=0, le=100, description="at which input mtf was recorded")

    @model_validator(mode="after")
    def _one_bfactor(self) -> PostProcessParameters:
        if self.automatic_bfactor == (self.bfactor_angstrom2 is not None):
            raise ValueError("give either automatic_bfactor: true or bfactor_angstrom2, not both")
        return self


STAGE_PARAMETERS: dict[str, type[Record]] = {
    "class3d": Class3DParameters,
    "refine3d": Refine3DParameters,
    "maskcreate": MaskCreateParameters,
    "postprocess": PostProcessParameters,
}
