"""A benchmark: one YAML file that says what to run, on what, and what is claimed of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.dataset import Tier

Name = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")


class Tolerance(Record):
    """How far an outcome may lie from what is expected, in the metric's own unit, and why."""

    unit: str = Field(min_length=1)
    margin: float = Field(ge=0)
    direction: Literal["both", "at-least", "at-most"] = "both"
    numerical: float | None = Field(None, ge=0, description="so close, from the same seeds, is the same number")
    reason: str = Field(min_length=20)


class Expectation(Record):
    """What a tier's own check expects (a twin against its truth)."""

    value: float
    tolerance: Tolerance


class OutcomeSpec(Record):
    """A quantity to measure from one stage's artifacts."""

    name: str = Name
    metric: str = Name
    stage: str = Name
    parameters: dict[str, Any] = Field(default_factory=dict)
    claim: str | None = None
    tolerance: Tolerance | None = None
    expect: dict[Tier, Expectation] = Field(default_factory=dict)
    tiers: tuple[Tier, ...] = ("twin", "subset", "full")
    required: bool = True

    @model_validator(mode="after")
    def _claim_has_tolerance(self) -> OutcomeSpec:
        if (self.claim is None) != (self.tolerance is None):
            raise ValueError("a claim needs a tolerance with a reason, and a tolerance needs a claim")
        return self


class StageSpec(Record):
    """One processing step. An input is ``data.ROLE`` or ``STAGE.ROLE``."""

    name: str = Name
    kind: str = Name
    runner: str | None = Field(None, description="only when this stage needs one; else the run's choice")
    inputs: dict[str, str]
    parameters: dict[str, Any] = Field(default_factory=dict)


class StageOverride(Record):
    """How a tier departs from the canonical parameters of a stage, and why."""

    parameters: dict[str, Any]
    reason: str = Field(min_length=20)


class TierSpec(Record):
    """How this benchmark uses one tier of its dataset."""

    parameters: dict[str, Any] = Field(default_factory=dict, description="passed to the dataset")
    overrides: dict[str, StageOverride] = Field(default_factory=dict)
    expected_minutes: float | None = None


class Departure(Record):
    """An option of the published command that is not taken over, and why."""

    option: str
    reason: str = Field(min_length=20)


class Benchmark(Record):
    """A published workload: dataset, pipeline of stages, claims."""

    schema_version: Literal[1]
    name: str = Name
    version: str = Field(pattern=r"^\d+\.\d+$")
    title: str
    summary: str
    dataset: str = Name
    default_runner: str = "relion-like"
    default_tier: Tier = "twin"
    canonical_command: str | None = None
    departures: list[Departure] = Field(default_factory=list)
    sources: list[str] = Field(min_length=1)
    tiers: dict[Tier, TierSpec] = Field(min_length=1)
    stages: list[StageSpec] = Field(min_length=1)
    outcomes: list[OutcomeSpec] = Field(min_length=1)
    claims: list[str] = Field(default_factory=list, description="published claims this benchmark answers to")

    @model_validator(mode="after")
    def _references_resolve(self) -> Benchmark:
        seen: set[str] = set()
        for stage in self.stages:
            if stage.name in seen or stage.name == "data":
                raise ValueError(f"stage name '{stage.name}' is used twice or reserved")
            for role, source in stage.inputs.items():
                head, _, tail = source.partition(".")
                if not tail or (head != "data" and head not in seen):
                    raise ValueError(
                        f"stages.{stage.name}.inputs.{role}: '{source}' is neither data.ROLE nor an earlier STAGE.ROLE"
                    )
            seen.add(stage.name)
        for outcome in self.outcomes:
            if outcome.stage not in seen:
                raise ValueError(f"outcomes.{outcome.name}.stage: no stage is named '{outcome.stage}'")
            if outcome.claim and outcome.claim not in self.claims:
                raise ValueError(f"outcomes.{outcome.name}.claim: '{outcome.claim}' is not listed under claims")
        for tier, spec in self.tiers.items():
            unknown = sorted(set(spec.overrides) - seen)
            if unknown:
                raise ValueError(f"tiers.{tier}.overrides: no stage is named '{unknown[0]}'")
        if self.default_tier not in self.tiers:
            raise ValueError(f"default_tier: this benchmark declares no tier '{self.default_tier}'")
        return self
