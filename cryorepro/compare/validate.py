"""Whether a benchmark file could run: everything ``reproduce`` would refuse, without running it."""

from __future__ import annotations

from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark, StageSpec
from cryorepro.model.dataset import Tier
from cryorepro.model.registry import load_claims
from cryorepro.model.strict_yaml import load_record
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.types import Runner
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.plan import StageRefused, check_names, known_parameters, plan_stage, validate_parameters


def validate_spec(catalogue: Catalogue, path: Path) -> tuple[Benchmark, list[str]]:
    """The benchmark in ``path``, checked for each of its tiers, and a note for every stage nobody can carry out.

    Such a stage is a valid part of a benchmark: ``reproduce`` refuses to start it, by name.

    Raises:
        InputError: names file, line and field, or the stage and parameter.
    """
    benchmark = load_record(path, Benchmark)
    claims = load_claims()
    for identifier in benchmark.claims:
        if identifier not in claims:
            raise InputError(f"{path}: claims: '{identifier}' is not in the registry")
    notes: dict[str, None] = {}
    for tier in benchmark.tiers:
        try:
            notes |= dict.fromkeys(_check_tier(catalogue, benchmark, tier))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return benchmark, list(notes)


def _check_tier(catalogue: Catalogue, benchmark: Benchmark, tier: Tier) -> list[str]:
    options, notes = RunOptions(tier=tier), []
    check_names(catalogue, benchmark, options)
    for index, spec in enumerate(benchmark.stages, 1):
        try:
            plan_stage(catalogue, benchmark, index, spec, options)
        except StageRefused:
            if spec.runner or _runners(catalogue, spec.kind):
                raise
            _check_parameters(benchmark, spec, tier)
            notes.append(f"no installed runner can carry out stage '{spec.name}' of kind {spec.kind}")
    return notes


def _runners(catalogue: Catalogue, kind: str) -> list[str]:
    found = [entry.descriptor for entry in catalogue.all("runners")]
    return [runner.name for runner in found if isinstance(runner, Runner) and kind in runner.stages]


def _check_parameters(benchmark: Benchmark, spec: StageSpec, tier: Tier) -> None:
    override = benchmark.tiers[tier].overrides.get(spec.name)
    validate_parameters(known_parameters(spec), spec, spec.parameters | (override.parameters if override else {}))
