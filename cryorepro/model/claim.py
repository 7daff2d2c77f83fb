"""A published figure with its conditions and the exact place it was read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cryorepro.model.base import Record


class Claim(Record):
    """One published figure; several claims about one run that disagree stay several claims."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    dataset: str
    quantity: str
    value: float
    unit: str
    shell: int | None = None
    box_px: int | None = None
    pixel_size_angstrom: float | None = None
    uncertainty: str | None = None
    n: int | None = None
    workload: str
    software: str
    hardware: str
    command: str | None = None
    source: str
    locator: str
    quality: Literal["primary", "secondary", "seed", "derived", "inferred", "unverified"]
    defects: list[str] = Field(default_factory=list)
    needs: str | None = Field(None, description="what running this workload takes: GB, GPU memory, hours")
