"""Typed parameters of curation: the limits a micrograph must keep, those a facility states beside a data set."""

from __future__ import annotations

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.stages import Angstrom


class CurationParameters(Record):
    """Which micrographs go on; a limit that is None is not applied."""

    worst_ctf_resolution_angstrom: Angstrom | None = Field(None, description="rings fitted at least to here")
    lowest_ctf_correlation: float | None = Field(None, ge=-1, le=1)
    lowest_defocus_angstrom: float | None = Field(None, ge=0, le=200_000, description="mean of U and V")
    highest_defocus_angstrom: float | None = Field(None, gt=0, le=200_000)
    highest_astigmatism_angstrom: float | None = Field(None, ge=0, le=50_000)
    highest_total_motion_angstrom: float | None = Field(None, ge=0, le=100_000)

    @model_validator(mode="after")
    def _ordered(self) -> CurationParameters:
        low, high = self.lowest_defocus_angstrom, self.highest_defocus_angstrom
        if low is not None and high is not None and low > high:
            raise ValueError(f"lowest_defocus_angstrom ({low:g}) exceeds highest_defocus_angstrom ({high:g})")
        return self

    @property
    def has_limits(self) -> bool:
        """Whether any limit is given."""
        return any(value is not None for value in self.model_dump().values())
