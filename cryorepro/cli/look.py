"""``cryorepro list``, ``runs``, ``show`` and ``compare``: looking at what there is."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def list_command(
    kind: Annotated[str | None, typer.Argument(help="specs, datasets, runners, probes, metrics, …")] = None,
) -> None:
    """What can be reproduced, on what, with what."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cryorepro.plugins.loader import load_catalogue

    catalogue = load_catalogue()
    for word in [kind] if kind else ["specs", "datasets", "runners"]:
        table = Table("name", "summary", "plugin", title=word, title_justify="left", box=None, pad_edge=False)
        for entry in catalogue.all(word):
            table.add_row(entry.name, escape(entry.descriptor.summary), f"{entry.distribution} {entry.version}")
        Console().print(table)


def runs_command(
    benchmark: Annotated[str | None, typer.Option(help="Only runs of this benchmark.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1)] = 50,
    sets: Annotated[bool, typer.Option("--sets", help="The sets of replicates instead.")] = False,
    as_json: Json = False,
) -> None:
    """The runs in the store, newest first."""
    if sets:
        from cryorepro.cli.sets import list_sets

        list_sets(as_json)
        return
    from cryorepro.cli.tables import print_runs
    from cryorepro.store.home import Home
    from cryorepro.store.ingest import open_for_reading
    from cryorepro.store.queries import list_runs

    with open_for_reading(Home.locate()) as index:
        rows = list_runs(index, limit, benchmark=benchmark)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        print_runs(rows)


def show_command(
    name: Annotated[str, typer.Argument(help="A benchmark, a YAML file, a dataset, a run, or 'latest'.")],
    as_json: Json = False,
    dataset: Annotated[bool, typer.Option(help="The dataset, where a benchmark has the same name.")] = False,
) -> None:
    """A benchmark, a dataset, or a run: stages, timings, outcomes, verdicts; or a set of runs (set-…)."""
    if name.startswith("set-"):
        from cryorepro.cli.sets import show_set

        show_set(name, as_json)
        return
    from cryorepro.cli.dataset import print_dataset
    from cryorepro.cli.tables import print_benchmark, print_run
    from cryorepro.compare.reproduce import find_spec
    from cryorepro.model.benchmark import Benchmark
    from cryorepro.model.registry import load_claims
    from cryorepro.model.strict_yaml import load_record
    from cryorepro.plugins.loader import load_catalogue

    catalogue = load_catalogue()
    known = catalogue.entries.get("datasets", {})
    if not dataset and (name in catalogue.entries.get("specs", {}) or Path(name).suffix in (".yaml", ".yml")):
        benchmark = load_record(find_spec(catalogue, name), Benchmark)
        if as_json:
            typer.echo(benchmark.model_dump_json(indent=1))
        else:
            print_benchmark(benchmark, load_claims())
            if benchmark.dataset in known:
                typer.echo(f"the data: cryorepro show --dataset {benchmark.dataset}")
    elif dataset or name in known:
        info = catalogue.get("datasets", name).descriptor.info
        typer.echo(info.model_dump_json(indent=1)) if as_json else print_dataset(info)
    else:
        record = run_or_bundle_record(name)
        if "origin" not in record:
            record["noise"] = _noise(record)
        typer.echo(json.dumps(record, indent=1, sort_keys=True)) if as_json else print_run(record, load_claims())


def compare_command(
    first: Annotated[str, typer.Argument(help="A run.")],
    second: Annotated[str, typer.Argument(help="Another run.")],
    as_json: Json = False,
) -> None:
    """Where two runs part, by stage and iteration, and why; then parameters, environment, outcomes and times."""
    from cryorepro.cli.parting_tables import print_parting
    from cryorepro.cli.tables import print_comparison
    from cryorepro.compare.artifacts.compare import parting
    from cryorepro.compare.runs import compare_runs

    one, other = run_or_bundle_record(first), run_or_bundle_record(second)
    comparison = compare_runs(one, other)
    parted = parting(_run_directory(first), one, _run_directory(second), other)
    if as_json:
        typer.echo(json.dumps({**comparison, "parting": parted.model_dump(mode="json")}, indent=1))
    else:
        print_parting(parted)
        print_comparison(comparison)


def _run_directory(name: str) -> Path | None:
    """Where a run's files are; None for a bundle, whose files are packed."""
    from cryorepro.bundle.imported import FOLDER, PREFIX
    from cryorepro.store.home import Home

    if name.endswith(".zip"):
        return None
    home = Home.locate()
    return home.root / FOLDER / name.removeprefix(PREFIX) if name.startswith(PREFIX) else home.find_run(name)


def run_or_bundle_record(name: str) -> dict[str, Any]:
    """The record of a run, of an imported run (``imported/RUN``), or of a bundle (``paper.zip``)."""
    if name.endswith(".zip"):
        from cryorepro.bundle.against import bundle_origin
        from cryorepro.bundle.verify import verified_bundle
        from cryorepro.store.home import Home

        bundle = verified_bundle(Path(name))
        origin = bundle_origin(bundle, Home.locate())
        return {**bundle.facts.record, "verdict": bundle.facts.verdict, "origin": origin}
    if name.startswith("imported/"):
        from cryorepro.bundle.imported import imported_record
        from cryorepro.store.home import Home

        return imported_record(Home.locate(), name)
    return _record(name)


def _record(name: str) -> dict[str, Any]:
    from cryorepro.compare.reproduce import verdict_of
    from cryorepro.store.home import Home
    from cryorepro.workflow.record import run_record

    directory = Home.locate().find_run(name)
    record = run_record(directory)
    record["verdict"] = verdict_of(directory, record)
    return record


def _noise(record: dict[str, Any]) -> dict[str, Any]:
    """The run's replicates among the newest of its benchmark in the store."""
    from cryorepro.compare.replicates import MOST_READ, noise_of
    from cryorepro.store.errors import StoreError
    from cryorepro.store.home import Home
    from cryorepro.store.ingest import open_for_reading
    from cryorepro.store.queries import list_runs
    from cryorepro.workflow.record import run_record

    home = Home.locate()
    rows, others = [], []
    # An index or a run that cannot be read hides replicates, not the run that was asked for.
    with suppress(StoreError), open_for_reading(home) as index:
        rows = list_runs(index, MOST_READ, benchmark=record["settings"].get("benchmark"), status="completed")
    for row in rows:
        with suppress(StoreError):
            others.append(run_record(home.runs / row["run_uid"]))
    return noise_of(record, others)
