"""What a person chose for ``reproduce``, as typed, made into the options of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryorepro.compare.ensemble.plan import Member
    from cryorepro.model.dataset import Tier
    from cryorepro.workflow.options import RunOptions


@dataclass(frozen=True)
class Choices:
    """The options of the command by their parameter's names."""

    tier: str | None
    runner: list[str] | None
    data: Path | None
    seed: int
    seeds: str | None
    replicates: int | None
    data_seed: int
    threads: int | None
    processes: int
    device: str
    setting: list[str] | None
    executor: str
    deterministic: bool
    cache: str
    calibration: bool
    require: str | None

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Choices:
        """From the parameters of a command that has all of them."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls)})

    def members(self) -> list[Member]:
        """The runs that were asked for: one, or those of a set.

        Raises:
            InputError: seeds or runners are malformed, repeated, or contradict each other.
        """
        from cryorepro.compare.ensemble.plan import members, parse_seeds

        return members(self.runner or [""], parse_seeds(self.seeds, self.replicates, self.seed))

    def options(self, default_tier: str) -> RunOptions:
        """The options of the first run.

        Raises:
            InputError: one of them is unknown, out of range, or names a file that is not there.
        """
        from cryorepro.workflow.options import RunOptions, parse_runners, parse_settings

        if self.data is not None and not self.data.exists():
            raise InputError(f"--data {self.data}: no such file or directory")
        stages, data_parameters = parse_settings(self.setting or [])
        first = self.members()[0]
        return RunOptions(
            tier=_tier(self.tier or ("subset" if self.data else default_tier)),
            runners=parse_runners(first.runner),
            overrides=stages,
            data_parameters=data_parameters,
            seed=first.seed,
            data_seed=self.data_seed,
            threads=self.threads or len(os.sched_getaffinity(0)),
            processes=self.processes,
            device=self.device,
            deterministic=self.deterministic,
            data_path=self.data.resolve() if self.data else None,
            executor=self.executor,
            cache=_cache(self.cache),
            calibration_seconds=_calibration_seconds() if self.calibration else 0.0,
        )


def _tier(word: str) -> Tier:
    for tier in ("twin", "subset", "full"):
        if word == tier:
            return tier
    raise InputError(f"--tier {word}: the tiers are twin, subset and full")


def _cache(word: str) -> Literal["any", "cold"]:
    if word == "any":
        return "any"
    if word == "cold":
        return "cold"
    raise InputError(f"--cache {word}: expected any or cold")


def _calibration_seconds() -> float:
    """20, or what CRYOREPRO_CALIBRATION_SECONDS says."""
    text = os.environ.get("CRYOREPRO_CALIBRATION_SECONDS", "20")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 600.0:
        raise InputError(f"CRYOREPRO_CALIBRATION_SECONDS={text}: expected a number of seconds from 0 to 600")
    return seconds
