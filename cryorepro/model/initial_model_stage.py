"""Typed parameters of a first map without a reference."""

from __future__ import annotations

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.stages import Angstrom, Symmetry


class InitialModelParameters(Record):
    """A first map without a reference: gradient steps from mini-batches, in three phases.

    A parameter that is None is the program's own default, because the published workflow does not state it. The
    others are named after RELION's options.
    """

    number_of_classes: int | None = Field(None, ge=1, le=100)
    symmetry: Symmetry | None = None
    particle_diameter_angstrom: Angstrom | None = Field(None, description="0.85 of the box if not given")
    run_in_c1: bool = Field(True, description="find the axes of the finished map and impose the symmetry then")
    initial_iterations: int = Field(50, ge=1, le=999)
    inbetween_iterations: int = Field(200, ge=0, le=999)
    final_iterations: int = Field(50, ge=0, le=999)
    initial_resolution_angstrom: Angstrom = 35.0
    final_resolution_angstrom: Angstrom = 15.0
    initial_subset: int = Field(100, ge=1, le=100_000)
    final_subset: int = Field(500, ge=1, le=100_000)
    step_size: float = Field(0.5, gt=0, le=1)
    final_step_size: float | None = Field(None, gt=0, le=1, description="in the last phase; RELION keeps step_size")
    momentum: float = Field(0.9, ge=0, lt=1)
    noise_factor: float = Field(
        1.0,
        ge=1,
        le=64,
        description="by which the noise variance is overstated at first; 1 after the first phase",
    )
    tau2_fudge: float = Field(4.0, gt=0, le=100)
    healpix_order: int = Field(1, ge=0, le=4)
    oversampling: int = Field(1, ge=0, le=3)
    offset_range_px: float = Field(6.0, ge=0, le=100)
    offset_step_px: float = Field(2.0, gt=0, le=100)
    offset_sigma_angstrom: float = Field(10.0, gt=0, le=100_000)
    perturbation: float = Field(0.5, ge=0, le=1)
    adaptive_fraction: float = Field(0.999, gt=0, le=1)
    padding: int = Field(2, ge=1, le=3)
    ctf: bool = True
    zero_mask: bool = True
    positivity: bool = Field(True, description="no density below that of the solvent")
    centre: bool = Field(True, description="maps follow their centre of mass until the last phase; RELION's do not")
    write_every: int = Field(10, ge=1, le=999, description="iterations between checkpoints")
    pool: int = Field(30, ge=1, le=1000)

    @property
    def iterations(self) -> int:
        """Of all three phases."""
        return self.initial_iterations + self.inbetween_iterations + self.final_iterations

    @model_validator(mode="after")
    def _ordered(self) -> InitialModelParameters:
        if self.final_resolution_angstrom > self.initial_resolution_angstrom:
            raise ValueError(
                f"final_resolution_angstrom ({self.final_resolution_angstrom:g}) is coarser than "
                f"initial_resolution_angstrom ({self.initial_resolution_angstrom:g})"
            )
        if self.final_subset < self.initial_subset:
            raise ValueError(f"final_subset ({self.final_subset}) is below initial_subset ({self.initial_subset})")
        if self.iterations > 999:
            raise ValueError(f"the phases have {self.iterations} iterations together, more than 999")
        return self
