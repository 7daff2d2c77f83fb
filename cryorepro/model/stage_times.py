"""A table of stage times: what was measured or published for each stage on each machine, and how the stage scales."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cryorepro.model.base import Record


class StageTime(Record):
    """One time of one stage: a single job of it on ``gpus`` GPUs (0: without any) of an instance."""

    instance: str
    gpus: int = Field(ge=0, le=64)
    seconds: float = Field(gt=0, le=1e8)
    source: str | None = None


class StageTimes(Record):
    """A stage with its times.

    ``scales_to`` is the number of GPUs beyond which the stage gains nothing. ``serial_fraction`` lets times for other
    GPU counts be worked out from the measured ones by Amdahl's law; without it none are. ``jobs`` independent jobs run
    side by side where the machine has the GPUs. Neighbouring stages of one ``group`` do not wait for each other.
    """

    name: str = Field(min_length=1, max_length=80)
    times: list[StageTime] = Field(min_length=1)
    scales_to: int | None = Field(None, ge=1, le=64)
    serial_fraction: float | None = Field(None, ge=0, le=1)
    jobs: int = Field(1, ge=1, le=10_000)
    group: str | None = None

    @model_validator(mode="after")
    def _one_time_each(self) -> StageTimes:
        keys = [(time.instance, time.gpus) for time in self.times]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ValueError(f"two times for {twice[0]} with {twice[1]} GPUs")
        return self


class TimesTable(Record):
    """A file for ``cryorepro plan --times``: the stages in the order in which they run."""

    schema_version: Literal[1]
    title: str
    source: str
    stages: list[StageTimes] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _names_and_groups(self) -> TimesTable:
        names = [stage.name for stage in self.stages]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"stage '{twice}' is listed twice")
        changes = [
            stage.group for k, stage in enumerate(self.stages) if k == 0 or self.stages[k - 1].group != stage.group
        ]
        named = [group for group in changes if group is not None]
        apart = next((group for group in named if named.count(group) > 1), None)
        if apart is not None:
            raise ValueError(f"the stages of group '{apart}' are not neighbours")
        return self
