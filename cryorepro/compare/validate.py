"""Whether a benchmark file could run: everything ``reproduce`` would refuse, without running it."""

from __future__ import annotations

from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.registry import load_claims
from cryorepro.model.strict_yaml import load_record
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.plan import make_plan


def validate_spec(catalogue: Catalogue, path: Path) -> Benchmark:
    """The benchmark in ``path``, planned once for each of its tiers.

    Raises:
        InputError: names file, line and field, or the stage and parameter.
    """
    benchmark = load_record(path, Benchmark)
    claims = load_claims()
    for identifier in benchmark.claims:
        if identifier not in claims:
            raise InputError(f"{path}: claims: '{identifier}' is not in the registry")
    for tier in benchmark.tiers:
        try:
            make_plan(catalogue, path, RunOptions(tier=tier))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return benchmark
