"""Typed parameters of 2D classification, of the selection of classes, and of re-extraction."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.stages import Angstrom

ClassNumber = Annotated[int, Field(ge=1, le=1000)]


class Class2DParameters(Record):
    """2D classification. A parameter that is None is the program's own default."""

    number_of_classes: int | None = Field(None, ge=1, le=1000)
    iterations: int | None = Field(None, ge=1, le=999)
    tau2_fudge: float | None = Field(None, gt=0, le=100)
    particle_diameter_angstrom: Angstrom | None = None
    ini_high_angstrom: Angstrom | None = None
    psi_step_degrees: float | None = Field(None, gt=0, le=90)
    oversampling: int | None = Field(None, ge=0, le=3)
    offset_range_px: float | None = Field(None, ge=0, le=100)
    offset_step_px: float | None = Field(None, gt=0, le=100)
    offset_sigma_angstrom: float = Field(10.0, gt=0, le=100_000)
    fix_offset_sigma: bool = False
    ctf: bool = True
    ctf_intact_first_peak: bool = False
    flatten_solvent: bool = False
    zero_mask: bool = False
    norm: bool = False
    scale: bool = False
    perturbation: float = Field(0.5, ge=0, le=1)
    adaptive_fraction: float = Field(0.999, gt=0, le=1)
    strict_highres_angstrom: Angstrom | None = None
    fast_subsets: bool = False
    early_iterations: int | None = Field(
        None,
        ge=0,
        le=999,
        description="first iterations in which classes count alike and shifts stay near the centre; ours alone",
    )
    padding: int | None = Field(None, ge=1, le=3)
    pool: int = Field(30, ge=1, le=1000)

    @property
    def classes(self) -> int:
        """RELION's default where none is given."""
        return self.number_of_classes or 1

    @property
    def last_iteration(self) -> int:
        """RELION's default where none is given."""
        return self.iterations or 50


class ClassSelectionParameters(Record):
    """Which classes go on: a list, a rule, or a selection made earlier (given as an input).

    ``keep`` is how a published workflow chose, where it says so: ``largest`` keeps the class with most particles,
    ``by-hand`` needs ``classes`` or the input ``selection``.
    """

    published_as_interactive: bool = False
    keep: Literal["largest", "by-hand"] | None = None
    classes: list[ClassNumber] | None = Field(None, min_length=1, max_length=1000)
    worst_resolution_angstrom: Angstrom | None = None
    smallest_fraction: float | None = Field(None, ge=0, le=1)
    largest_classes: int | None = Field(None, ge=1, le=1000, description="keep at most so many, largest first")
    smallest_similarity: float | None = Field(
        None, ge=-1, le=1, description="correlation with the nearest of inputs.views, a stack or a map to project"
    )
    smallest_central_density: float | None = Field(
        None,
        ge=-10,
        le=10,
        description="middle of the average (half its width) over what lies around it, in its standard deviations",
    )
    views_resolution_angstrom: Angstrom = Field(30.0, description="finest detail that views are compared in")

    @property
    def has_rule(self) -> bool:
        """Whether classes are chosen by what the model says of them."""
        limits = (
            self.worst_resolution_angstrom,
            self.smallest_fraction,
            self.largest_classes,
            self.smallest_similarity,
            self.smallest_central_density,
        )
        return self.keep == "largest" or any(limit is not None for limit in limits)

    @model_validator(mode="after")
    def _one_way(self) -> ClassSelectionParameters:
        if self.classes is not None and self.has_rule:
            raise ValueError("give either classes or a rule, not both")
        return self


class ReextractionParameters(Record):
    """Particles cut again with their offsets taken out, from micrographs or, where there are none, from their stack."""

    box_px: int | None = Field(None, ge=16, le=4096, description="in pixels of the source; its own box if not given")
    rescaled_box_px: int | None = Field(None, ge=16, le=4096, description="box after cropping in Fourier space")
    recentre: bool = True
    normalise: bool = True
    background_radius_px: float | None = Field(
        None, gt=0, le=2048, description="of the new box; by default 0.375 of it"
    )
    invert_contrast: bool = Field(False, description="of micrographs with dark particles")
    duplicates_within_angstrom: Angstrom | None = None

    @model_validator(mode="after")
    def _even(self) -> ReextractionParameters:
        for name in ("box_px", "rescaled_box_px"):
            if (getattr(self, name) or 0) % 2:
                raise ValueError(f"{name} ({getattr(self, name)}) must be even")
        if self.box_px is not None and self.rescaled_box_px is not None and self.rescaled_box_px > self.box_px:
            raise ValueError(f"rescaled_box_px ({self.rescaled_box_px}) exceeds box_px ({self.box_px})")
        return self
