"""What a person chose for one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.dataset import Tier

EVERY_STAGE = "*"


class RunOptions(Record):
    """The choices that, with the benchmark's YAML, determine a run."""

    tier: Tier
    runners: dict[str, str] = Field(default_factory=dict, description="stage name or '*' to runner")
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    data_parameters: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(1, ge=1, le=2**31 - 1)
    data_seed: int = Field(1, ge=0, le=2**31 - 1)
    threads: int = Field(1, ge=1, le=4096)
    processes: int = Field(1, ge=1, le=4096, description="that share a stage's particles, where it can be shared")
    device: str = "cpu"
    deterministic: bool = False
    data_path: Path | None = None
    executor: str = "local"
    cache: Literal["any", "cold"] = Field("any", description="page cache of the inputs when a stage begins")
    calibration_seconds: float = Field(0.0, ge=0, le=600, description="0: the machine's repeatability is not stated")


def parse_runners(text: str | None) -> dict[str, str]:
    """``relion`` or ``class3d=relion,postprocess=relion-like``.

    Raises:
        InputError: an item is neither a runner nor STAGE=RUNNER.
    """
    chosen: dict[str, str] = {}
    for item in (text or "").split(","):
        if not item:
            continue
        stage, equals, runner = item.strip().partition("=")
        key, value = (stage, runner) if equals else (EVERY_STAGE, stage)
        if not key or not value or key in chosen:
            raise InputError(f"--runner {text}: expected RUNNER or STAGE=RUNNER,…, each stage once")
        chosen[key] = value
    return chosen


def parse_settings(items: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """``class3d.iterations=3`` changes a stage, ``data.particles=300`` the tier; values are read as YAML scalars.

    Raises:
        InputError: an item has another form.
    """
    import yaml

    stages: dict[str, dict[str, Any]] = {}
    for item in items:
        path, equals, text = item.partition("=")
        stage, dot, field = path.partition(".")
        if not (equals and dot and stage and field):
            raise InputError(f"--set {item}: expected STAGE.PARAMETER=VALUE or data.PARAMETER=VALUE")
        try:
            stages.setdefault(stage, {})[field] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {item}: the value cannot be read") from error
    return stages, stages.pop("data", {})
