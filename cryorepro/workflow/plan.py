"""From a benchmark and a person's choices to stages with validated parameters, before anything runs."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.benchmark import Benchmark, StageSpec
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.strict_yaml import load_record
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.types import Runner
from cryorepro.workflow.options import EVERY_STAGE, RunOptions


@dataclass(frozen=True)
class PlannedStage:
    """One stage with its runner and its complete, validated parameters."""

    index: int
    spec: StageSpec
    runner: str
    parameters: dict[str, Any]
    departures: tuple[str, ...]

    @property
    def name(self) -> str:
        """The stage's name in the benchmark."""
        return self.spec.name

    @property
    def folder(self) -> str:
        """Directory name of the stage inside a run."""
        return f"{self.index:02d}-{self.name}"


@dataclass(frozen=True)
class RunPlan:
    """A benchmark ready to run."""

    benchmark: Benchmark
    spec_text: str
    options: RunOptions
    stages: tuple[PlannedStage, ...]

    @property
    def spec_sha256(self) -> str:
        """Hash of the YAML file the plan was made from."""
        return hashlib.sha256(self.spec_text.encode()).hexdigest()


class StageRefused(InputError):
    """The runner chosen for a stage cannot carry out stages of its kind."""


def make_plan(catalogue: Catalogue, spec_path: Path, options: RunOptions) -> RunPlan:
    """Check everything that can be checked before a run exists.

    Raises:
        InputError: the benchmark, a runner, a stage or a parameter is unknown or out of range.
        StageRefused: a runner cannot carry out a stage; it is named, never skipped.
    """
    benchmark = load_record(spec_path, Benchmark)
    check_names(catalogue, benchmark, options)
    stages = tuple(
        plan_stage(catalogue, benchmark, index, spec, options) for index, spec in enumerate(benchmark.stages, 1)
    )
    return RunPlan(benchmark, spec_path.read_text(encoding="utf-8"), options, stages)


def check_names(catalogue: Catalogue, benchmark: Benchmark, options: RunOptions) -> None:
    """Tier, dataset, metrics and stage names.

    Raises:
        InputError: one of them is unknown.
    """
    if options.tier not in benchmark.tiers:
        offered = ", ".join(benchmark.tiers)
        raise InputError(f"benchmark '{benchmark.name}' has no tier '{options.tier}' (it has: {offered})")
    catalogue.get("datasets", benchmark.dataset)
    for outcome in benchmark.outcomes:
        catalogue.get("metrics", outcome.metric)
    names = {stage.name for stage in benchmark.stages}
    for label, chosen in (
        ("--runner", set(options.runners) - {EVERY_STAGE}),
        ("--set", set(options.overrides)),
    ):
        if chosen - names:
            raise InputError(f"{label}: benchmark '{benchmark.name}' has no stage '{min(chosen - names)}'")


def plan_stage(
    catalogue: Catalogue, benchmark: Benchmark, index: int, spec: StageSpec, options: RunOptions
) -> PlannedStage:
    """One stage with its runner and complete parameters.

    Raises:
        InputError: the runner is unknown, or a parameter is unknown or out of range.
        StageRefused: the runner cannot carry out stages of this kind.
    """
    chosen = options.runners.get(spec.name) or spec.runner or options.runners.get(EVERY_STAGE)
    runner = chosen or benchmark.default_runner
    descriptor = catalogue.get("runners", runner).descriptor
    assert isinstance(descriptor, Runner)
    if spec.kind not in descriptor.stages:
        able = ", ".join(descriptor.stages)
        raise StageRefused(f"runner '{runner}' cannot run stage '{spec.name}' of kind {spec.kind} (it can: {able})")
    parameters = dict(spec.parameters)
    departures: list[str] = []
    override = benchmark.tiers[options.tier].overrides.get(spec.name)
    if override is not None:
        parameters |= override.parameters
        departures.append(f"{', '.join(sorted(override.parameters))}: {override.reason}")
    asked = options.overrides.get(spec.name, {})
    if asked:
        parameters |= asked
        departures.append(f"{', '.join(sorted(asked))}: asked for on the command line")
    validated = validate_parameters(_parameter_model(descriptor, spec), spec, parameters)
    return PlannedStage(index, spec, runner, validated, tuple(departures))


def validate_parameters(model: type[Record], spec: StageSpec, parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters of ``spec``, checked against the model of its kind and completed with defaults.

    Raises:
        InputError: a parameter is unknown or out of range.
    """
    try:
        return model.model_validate(parameters).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise InputError(f"stage '{spec.name}' ({spec.kind}), parameter '{field}': {first['msg']}") from error


def _parameter_model(runner: Runner, spec: StageSpec) -> type[Record]:
    path = runner.parameter_models.get(spec.kind)
    if path is None:
        return known_parameters(spec)
    module, _, attribute = path.partition(":")
    model: type[Record] = getattr(importlib.import_module(module), attribute)
    return model


def known_parameters(spec: StageSpec) -> type[Record]:
    """The framework's own parameter model for the stage's kind.

    Raises:
        InputError: it has none.
    """
    if spec.kind not in KNOWN_PARAMETERS:
        raise InputError(f"stage '{spec.name}': no parameters are known for a stage of kind '{spec.kind}'")
    return KNOWN_PARAMETERS[spec.kind]


def stage_seed(run_seed: int, stage: str) -> int:
    """Seed of one stage, 1 to 2**31-1, derived from the run's seed by name so that stages never share draws."""
    digest = hashlib.sha256(f"{run_seed}/{stage}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % (2**31 - 1) + 1
