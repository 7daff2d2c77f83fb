"""``cryorepro reproduce`` and ``cryorepro resume``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cryorepro.cli.progress import Listener
    from cryorepro.model.outcome import OutcomeWord
    from cryorepro.plugins.catalogue import Catalogue
    from cryorepro.store.home import Home
    from cryorepro.workflow.plan import RunPlan

Seed = Annotated[int, typer.Option(help="Seed of the run; every random draw derives from it.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Runners = Annotated[
    list[str] | None,
    typer.Option(help="RUNNER, or STAGE=RUNNER,STAGE=RUNNER,…; given again, each is run and they are compared."),
]
Replicates = Annotated[
    int | None, typer.Option(help="So many runs, with seeds from --seed on, judged as a set.", min=1)
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="STAGE.PARAMETER=VALUE or data.PARAMETER=VALUE; repeatable.")
]
Calibration = Annotated[
    bool, typer.Option(help="State how well this machine repeats itself: 20 s, once after each start of its system.")
]
Require = Annotated[
    str | None,
    typer.Option(help="Exit code 0 only from this level on: identical, numerical, equivalent, within-band-n1."),
]


def reproduce_command(
    context: typer.Context,
    benchmark: Annotated[str, typer.Argument(help="Name of a benchmark, a YAML file, or a bundle (.zip).")],
    tier: Annotated[str | None, typer.Option(help="twin, subset or full; default as the benchmark says.")] = None,
    runner: Runners = None,
    data: Annotated[Path | None, typer.Option(help="A local copy of the data.")] = None,
    seed: Seed = 1,
    seeds: Annotated[str | None, typer.Option(help="1,2,3: one run for each seed, judged as a set.")] = None,
    replicates: Replicates = None,
    data_seed: Annotated[int, typer.Option(help="Seed of a twin, or of the rows of a subset.", min=0)] = 1,
    threads: Annotated[int | None, typer.Option(help="Worker processes or threads.", min=1)] = None,
    processes: Annotated[int, typer.Option(help="Processes that share a stage; one GPU each.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    setting: Settings = None,
    executor: Annotated[str, typer.Option(help="Where stages run.")] = "local",
    deterministic: Annotated[bool, typer.Option(help="The same bits from the same seed.")] = False,
    cache: Annotated[str, typer.Option(help="any, or cold: inputs leave the page cache before each stage.")] = "any",
    calibration: Calibration = True,
    require: Require = None,
    dry_run: Annotated[bool, typer.Option(help="Show the exact commands and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run a benchmark here, to a verdict.

    Exit codes: 0 within the declared margins (with --require, at or above that level), 2 unusable input, 3 diverged,
    4 inconclusive, 5 not comparable, 6 failed, 7 unverifiable, 130 interrupted.
    """
    if benchmark.endswith(".zip"):
        from cryorepro.cli.bundle import reproduce_from_bundle

        reproduce_from_bundle(Path(benchmark), context, as_json)
    from cryorepro.cli.choices import Choices
    from cryorepro.compare.reproduce import find_spec, require_runners
    from cryorepro.compare.verdict.words import parse_level
    from cryorepro.model.benchmark import Benchmark
    from cryorepro.model.strict_yaml import load_record
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.workflow.plan import make_plan

    catalogue, choices, level = load_catalogue(), Choices.of(context.params), parse_level(require)
    spec = find_spec(catalogue, benchmark)
    plan = make_plan(catalogue, spec, choices.options(load_record(spec, Benchmark).default_tier))
    require_runners(catalogue, plan)
    chosen = choices.members()
    if dry_run:
        _show(catalogue, plan)
    elif len(chosen) > 1:
        from cryorepro.cli.sets import start_and_finish

        start_and_finish(catalogue, spec, plan, chosen, level, as_json)
    else:
        _start(catalogue, plan, level, as_json)


def _show(catalogue: Catalogue, plan: RunPlan) -> None:
    from cryorepro.store.home import Home
    from cryorepro.workflow.preview import preview

    for stage, command in preview(Home.locate().ensure(), catalogue, plan):
        typer.echo(f"# {stage}\n{command}")


def _start(catalogue: Catalogue, plan: RunPlan, level: OutcomeWord | None, as_json: bool) -> None:
    from cryorepro.compare.reproduce import attempt
    from cryorepro.store.home import Home
    from cryorepro.workflow.session import start_run

    home = Home.locate().ensure()
    directory = start_run(home, catalogue, plan, sys.argv[1:])
    listener = _listener(as_json)
    listener("run_started", {"run": directory.uid, "benchmark": plan.benchmark.name, "tier": plan.options.tier})
    _finish(attempt(home, catalogue, directory, plan, listener, level), home, as_json)


def resume_command(
    run: Annotated[str, typer.Argument(help="A run's identifier, its beginning, or 'latest'; or a set's.")] = "latest",
    require: Require = None,
    as_json: Json = False,
) -> None:
    """Take an interrupted or killed run, or set of runs, up again, to its verdict."""
    from cryorepro.compare.verdict.words import parse_level

    level = parse_level(require)
    if run.startswith("set-"):
        from cryorepro.cli.sets import resume_and_finish

        resume_and_finish(run, level, as_json)
    from cryorepro.compare.reproduce import attempt
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.store.home import Home
    from cryorepro.workflow.rundir import RunDirectory
    from cryorepro.workflow.session import load_plan

    catalogue, home = load_catalogue(), Home.locate()
    directory = RunDirectory(home.find_run(run))
    plan = load_plan(catalogue, directory)
    listener = _listener(as_json)
    listener("run_resumed", {"run": directory.uid, "benchmark": plan.benchmark.name, "tier": plan.options.tier})
    _finish(attempt(home, catalogue, directory, plan, listener, level), home, as_json)


def _listener(as_json: bool) -> Listener:
    from cryorepro.cli.progress import choose_listener

    return choose_listener(as_json)


def _finish(record: dict[str, Any], home: Home, as_json: bool) -> None:
    from cryorepro.cli.progress import print_json_line
    from cryorepro.cli.verdict import print_verdict
    from cryorepro.workflow.indexing import index_run

    problem = index_run(home, record["run"])
    if as_json:
        print_json_line("result", {key: record[key] for key in ("run", "status", "verdict", "exit_code")})
    else:
        print_verdict(record)
    if problem:
        print(f"cryorepro: the run is complete, the index is not: {problem}", file=sys.stderr)
    raise typer.Exit(record["exit_code"])
