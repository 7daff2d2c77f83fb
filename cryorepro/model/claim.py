"""A published figure with its conditions and the exact place it was read."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from cryorepro.model.base import Record

Quality = Literal["primary", "secondary", "seed", "derived", "inferred", "unverified"]


class Derivation(Record):
    """How the source itself got a figure from others, so that the arithmetic can be checked.

    ``of`` names claims in the order of the formula: a ratio divides the first by the second, a difference subtracts
    the second from the first, ``spread`` is (largest - smallest) / mean, and ``sum`` may exceed the parts by what a
    program does between its steps. ``scale`` multiplies the result: "1/3600" turns seconds times a price an hour
    into money.
    """

    kind: Literal["product", "ratio", "sum", "difference", "mean", "spread", "max"]
    of: list[str] = Field(default_factory=list, description="ids of claims; empty when the source prints no terms")
    scale: str = Field("1", pattern=r"^[1-9][0-9]*(/[1-9][0-9]*)?$")

    @property
    def factor(self) -> float:
        """``scale`` as a number."""
        return float(Fraction(self.scale))


class Claim(Record):
    """One published figure; several claims about one run that disagree stay several claims."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    dataset: str
    quantity: str
    value: float
    unit: str
    printed: str | None = Field(None, description="the figure as the source prints it, when not a plain number")
    approximate: bool = Field(False, description="the source says 'about'")
    shell: int | None = None
    box_px: int | None = None
    pixel_size_angstrom: float | None = None
    uncertainty: str | None = None
    n: int | None = None
    run: str | None = Field(None, description="the published run; two figures of one quantity of one run must agree")
    step: str | None = Field(None, description="the program or part of the run the figure is about; none: all of it")
    workload: str
    software: str
    hardware: str
    system: str | None = Field(None, description="the machine's name, without how much of it was used")
    instance: str | None = Field(None, description="name in registry/instances.yaml")
    gpu: str | None = Field(None, description="family in registry/gpus.yaml")
    gpus: int | None = Field(None, ge=0)
    nodes: int | None = Field(None, ge=1)
    ranks: int | None = Field(None, ge=1)
    threads: int | None = Field(None, ge=1)
    command: str | None = None
    without: list[str] = Field(default_factory=list, description="options of the workload that this run left out")
    derived: Derivation | None = None
    source: str
    locator: str
    quality: Quality
    defects: list[str] = Field(default_factory=list, description="what a person found; the lint does not read it")
    needs: str | None = Field(None, description="what running this workload takes: GB, GPU memory, hours")
