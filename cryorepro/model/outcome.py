"""Quantities measured from artifacts of a run, and verdicts on them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from cryorepro.model.base import Record

OutcomeWord = Literal[
    "identical", "numerical", "equivalent", "within-band-n1", "inconclusive", "diverged", "not-comparable",
    "unverifiable", "not-attempted", "failed",
]  # fmt: skip
PerformanceWord = Literal["matches", "faster", "slower", "inconclusive", "not-comparable"]
AssuranceWord = Literal["self-repeat", "other-system", "other-team"]


class MetricValue(Record):
    """A number with its unit; a resolution is a Fourier shell and carries its box and pixel size."""

    value: float
    unit: str
    shell: int | None = None
    box_px: int | None = None
    pixel_size_angstrom: float | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    artifacts: list[str] = Field(default_factory=list, description="run-relative paths the number was read from")


class Outcome(Record):
    """A measured quantity, or the reason it could not be believed."""

    name: str
    metric: str
    stage: str
    status: Literal["measured", "unverifiable"]
    value: MetricValue | None = None
    reason: str | None = None
    artifacts: dict[str, str] = Field(default_factory=dict, description="run-relative path to sha256")


class Verdict(Record):
    """An outcome held against a claim (or against a twin's own truth), with the reason.

    ``kind`` is ``time`` when the claim is a time: only the performance axis then speaks. ``runs`` were held against it,
    ``measured_runs`` of them gave a value; ``interval`` is the 90 % interval of measured minus expected.
    """

    outcome: str
    claim: str | None
    self_check: bool
    kind: Literal["outcome", "time"] = "outcome"
    axis_outcome: OutcomeWord
    axis_performance: PerformanceWord = "not-comparable"
    axis_assurance: AssuranceWord = "other-system"
    better_than_expected: bool = False
    reason: str
    expected: str | None = None
    measured: str | None = None
    margin: str | None = None
    margin_reason: str | None = None
    needs: str | None = None
    runs: int = Field(1, ge=1)
    measured_runs: int | None = Field(None, ge=0)
    mean: float | None = None
    spread: float | None = Field(None, ge=0, description="SD of one run, in the outcome's unit")
    interval: tuple[float, float] | None = None
    more_runs: int | None = Field(None, ge=0, description="how many more would decide, 80 % likely")
    performance_reason: str | None = None
    assurance_signed: bool = False
    rules_version: int | None = Field(None, description="of the comparability rules")
