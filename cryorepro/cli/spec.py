"""``cryorepro validate`` and ``cryorepro schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def validate_command(
    files: Annotated[list[Path], typer.Argument(help="Benchmark YAML files.")],
) -> None:
    """Check benchmark files: keys, types, references, runners' parameters, metrics and claims."""
    from cryorepro.compare.validate import validate_spec
    from cryorepro.plugins.loader import load_catalogue

    catalogue = load_catalogue()
    for path in files:
        benchmark, notes = validate_spec(catalogue, path)
        stages = ", ".join(stage.name for stage in benchmark.stages)
        typer.echo(f"{path}: valid; {benchmark.name} {benchmark.version}, stages {stages}")
        for note in notes:
            typer.echo(f"  note: {note}")


def schema_command() -> None:
    """Print the JSON Schema of a benchmark file."""
    from cryorepro.model.json_schema import benchmark_schema

    typer.echo(json.dumps(benchmark_schema(), indent=2))
