"""Typed parameters of picking, of the inspection of picks, and of the extraction of particles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.stages import Angstrom, Symmetry

BoxPx = Annotated[int, Field(ge=8, le=4096)]
Coefficient = Annotated[float, Field(ge=-1, le=1)]


class PickingParameters(Record):
    """Particles in micrographs; ``micrographs`` limits the work to the first so many.

    ``blob`` compares discs (``circular``), ellipses and rings of the diameters given, ``template`` images of the
    particle; ``log`` is RELION's Laplacian of a Gaussian. A parameter that is None is the program's own default.
    """

    method: Literal["blob", "template", "log", "network"] | None = None
    smallest_diameter_angstrom: Angstrom | None = None
    largest_diameter_angstrom: Angstrom | None = None
    circular: bool | None = None
    elliptical: bool | None = None
    ring: bool | None = None
    micrographs: int | None = Field(None, ge=1)
    lowpass_angstrom: Angstrom | None = Field(None, description="20 if not given")
    lowest_ncc: Coefficient | None = Field(None, description="picks below are not written; 0.2 if not given")
    least_distance_angstrom: Angstrom | None = Field(
        None, description="between two picks; 0.8 of the smallest diameter if not given"
    )
    edge_angstrom: float | None = Field(None, ge=0, le=10_000, description="picks nearer to the border are left out")
    most_picks: int | None = Field(None, ge=1, le=1_000_000, description="per micrograph, the best ones")
    dark_particles: bool = Field(True, description="as protein is in an underfocused micrograph")
    mask_contamination: bool = True
    highest_masked_share: float = Field(
        0.5, gt=0, le=1, description="a micrograph of which more is contaminated is set aside"
    )
    step_degrees: float | None = Field(None, gt=0, le=360, description="in-plane, of templates; 10 if not given")
    ctf: bool = Field(True, description="templates are multiplied by it where the table has it")
    symmetry: Symmetry = "C1"
    directions_healpix_order: int = Field(1, ge=0, le=4, description="projections of a map given as template")
    threshold: float | None = Field(None, description="RELION's own: of its probability ratio, or above its LoG one")

    @model_validator(mode="after")
    def _ordered(self) -> PickingParameters:
        small, large = self.smallest_diameter_angstrom, self.largest_diameter_angstrom
        if small is not None and large is not None and small > large:
            raise ValueError(f"smallest_diameter_angstrom ({small:g}) exceeds largest_diameter_angstrom ({large:g})")
        return self


class PickInspectionParameters(Record):
    """Which picks are kept, by normalised cross-correlation and local power (the program's own scale).

    ``automatic`` finds its limits in all picks together: ``valley`` (least density between the heaps of true and false
    coefficients) or ``otsu``; powers that are outliers among those kept go too. A limit given beside it stands.
    """

    lowest_ncc: Coefficient | None = None
    lowest_power: float | None = None
    highest_power: float | None = None
    automatic: Literal["valley", "otsu"] | None = None
    published_as_interactive: bool = False

    @property
    def has_rule(self) -> bool:
        """Whether anything decides."""
        limits = (self.lowest_ncc, self.lowest_power, self.highest_power, self.automatic)
        return any(value is not None for value in limits)

    @model_validator(mode="after")
    def _ordered(self) -> PickInspectionParameters:
        low, high = self.lowest_power, self.highest_power
        if low is not None and high is not None and low > high:
            raise ValueError(f"lowest_power ({low:g}) exceeds highest_power ({high:g})")
        return self


class ExtractionParameters(Record):
    """Particles cut out of micrographs, and their box after cropping in Fourier space."""

    box_px: BoxPx | None = None
    rescaled_box_px: BoxPx | None = None
    background_radius_px: float | None = Field(
        None, gt=0, le=2048, description="of the new box; by default 0.375 of it"
    )
    duplicates_within_angstrom: Angstrom | None = None
    invert_contrast: bool = Field(True, description="of micrographs with dark particles")
    normalise: bool = True

    @model_validator(mode="after")
    def _no_enlargement(self) -> ExtractionParameters:
        if self.box_px is not None and self.rescaled_box_px is not None and self.rescaled_box_px > self.box_px:
            raise ValueError(f"rescaled_box_px ({self.rescaled_box_px}) exceeds box_px ({self.box_px})")
        for name in ("box_px", "rescaled_box_px"):
            if (getattr(self, name) or 0) % 2:
                raise ValueError(f"{name} ({getattr(self, name)}) must be even")
        return self
