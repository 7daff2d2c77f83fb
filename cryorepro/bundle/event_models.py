"""What each kind of journal event holds when it leaves in a bundle.

These models are the allow-list of what an export may carry, and the strict check of what a foreign bundle brings.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from cryorepro.compare.comparability.keys import Keys
from cryorepro.model.base import Record
from cryorepro.model.bench import RunCalibration
from cryorepro.model.fingerprint import ProbeResult
from cryorepro.model.outcome import MetricValue, Verdict

Number = int | float
Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class FileEntry(Record):
    """A file by role, hash and size."""

    role: str
    path: str
    sha256: str = Sha256
    size_bytes: int = Field(ge=0)


class InputEntry(FileEntry):
    """An input of a stage: which file, and whose output it was."""

    source: str = Field(alias="from")
    from_stage: str | None = None


class PluginEntry(Record):
    """A plugin that was there when the run began."""

    distribution: str
    version: str
    plugin: str


class RunCreated(Record):
    """What was asked for."""

    run_uid: str
    benchmark: str
    benchmark_version: str
    spec_sha256: str = Sha256
    dataset: str
    tier: str
    tier_parameters: dict[str, Any]
    seed: int
    data_seed: int
    threads: int
    device: str
    executor: str
    deterministic: bool = False
    cache: str = "any"
    runners: dict[str, str]
    parameters: dict[str, dict[str, Any]]
    command: list[str]
    cryorepro_version: str
    plugins: list[PluginEntry]


class AttemptStarted(Record):
    """An attempt began; its process and host stay behind."""

    attempt: int


class AttemptEnded(Record):
    """An attempt ended."""

    attempt: int
    status: str
    elapsed_seconds: Number
    reason: str | None


class DataPrepared(Record):
    """The tier that was used."""

    dataset: str
    tier: str
    files: list[FileEntry]
    rows: dict[str, int]
    errata: list[dict[str, Any]]
    origin: str
    parameters: dict[str, Any]
    truth: bool = False
    box_px: int | None = None
    pixel_size_angstrom: Number | None = None


class FingerprintRecorded(Record):
    """The machine."""

    probes: list[ProbeResult]
    calibration: RunCalibration | None = None


class StagePlanned(Record):
    """A stage's exact command."""

    stage: str
    index: int
    kind: str
    runner: str
    program: dict[str, str]
    argv: list[str]
    environment: dict[str, str]
    parameters: dict[str, Any]
    departures: list[str]
    seed: int
    threads: int
    inputs: list[InputEntry]


class StageStarted(Record):
    """An attempt at a stage."""

    stage: str
    attempt: int
    resumed: bool
    started_at: Number


class StageEnded(Record):
    """How an attempt at a stage ended; fields that are not named here are measurements, and only numbers."""

    model_config = ConfigDict(extra="allow")

    stage: str
    attempt: int
    status: str
    exit_code: int | None
    failure_class: str | None
    message: str | None
    signal: int | None = None
    confined: bool | None = None
    timeline: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _measurements_are_numbers(self) -> StageEnded:
        for name, value in (self.model_extra or {}).items():
            if value is not None and not isinstance(value, int | float):
                raise ValueError(f"'{name}' is not a number")
        return self


class StageOutputs(Record):
    """What a stage wrote, as checked."""

    stage: str
    outputs: list[FileEntry]
    iterations: int | None
    rows: dict[str, int]
    seed: int | None
    numbers: dict[str, Number]
    notes: list[str]


class OutcomeMeasured(Record):
    """A quantity measured from artifacts."""

    outcome: str
    metric: str
    stage: str
    status: str
    value: MetricValue | None
    reason: str | None
    artifacts: dict[str, str]


class RunEnded(Record):
    """The end."""

    status: str
    reason: str | None
    elapsed_seconds_all_attempts: Number


class RunReopened(Record):
    """A sealed run was taken up again."""

    head_seq: int
    status: str


class TornTail(Record):
    """Bytes after the last acknowledged line were cut off."""

    size_bytes: int
    sha256: str = Sha256


EVENT_MODELS: dict[str, type[Record]] = {
    "run_created": RunCreated,
    "attempt_started": AttemptStarted,
    "attempt_ended": AttemptEnded,
    "data_prepared": DataPrepared,
    "fingerprint_recorded": FingerprintRecorded,
    "stage_planned": StagePlanned,
    "stage_started": StageStarted,
    "stage_ended": StageEnded,
    "stage_outputs": StageOutputs,
    "outcome_measured": OutcomeMeasured,
    "keys_recorded": Keys,
    "verdict_given": Verdict,
    "run_ended": RunEnded,
    "run_reopened": RunReopened,
    "torn_tail_recovered": TornTail,
}
