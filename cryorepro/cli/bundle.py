"""``cryorepro export``, ``verify``, ``import``, and ``reproduce`` of a bundle."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryorepro.bundle.export_set import WriteBundle
    from cryorepro.bundle.rerun import Rerun
    from cryorepro.bundle.verify import Report
    from cryorepro.model.outcome import OutcomeWord

FAILED = 1
_FREE = ("threads", "device", "deterministic", "executor", "seed")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


def export_command(
    run: Annotated[str, typer.Argument(help="A finished run, its beginning, or 'latest'; or a set (set-…).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; for a set, a folder.")],
    to: Annotated[str | None, typer.Option("--format", help="An exporter; default by the file's suffix.")] = None,
    outputs: Annotated[str, typer.Option("--with", help="What a bundle carries: maps,stars,plots,prov.")] = "plots",
    author: Annotated[
        list[str] | None,
        typer.Option(help="NAME; ORCID; AFFILIATION; URL of it - parts after the name are optional. Repeatable."),
    ] = None,
    licence: Annotated[str, typer.Option(help="SPDX identifier of a bundle's licence.")] = "CC-BY-4.0",
    sign: Annotated[Path | None, typer.Option(help="Ed25519 private key (PEM) to sign a bundle with.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Address of the run at WorkflowHub, for EMPIAR.")] = None,
) -> None:
    """Write a run for others: .zip is a bundle that anyone can verify and repeat."""
    from cryorepro.plugins.implementation import guarded, instantiate
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.plugins.types import Exporter
    from cryorepro.store.home import Home

    if output.exists():
        raise InputError(f"{output}: exists already")
    if run.startswith("set-"):
        _export_set(
            run, output, lambda found, to: _export_bundle(found, to, outputs, author or [], licence, sign, workflow)
        )
        return
    catalogue = load_catalogue()
    by_suffix = {entry.descriptor.suffix: entry.name for entry in catalogue.all(Exporter)}
    registered = catalogue.get(Exporter, to or by_suffix.get(output.suffix, "json"))
    directory = Home.locate().find_run(run)
    if registered.name == "bundle":
        _export_bundle(directory, output, outputs, author or [], licence, sign, workflow)
    else:
        from cryorepro.cli.look import run_or_bundle_record

        exporter = instantiate(registered)
        with guarded(registered, "exporting"):
            exporter.export(run_or_bundle_record(run), directory, output)
    typer.echo(f"{output}: {registered.descriptor.summary}")


def _export_set(name: str, output: Path, write: WriteBundle) -> None:
    from cryorepro.bundle.export_set import RECORD, write_set
    from cryorepro.store.home import Home
    from cryorepro.store.sets import find_set

    home = Home.locate()
    count = write_set(home, find_set(home, name), output, write)
    typer.echo(f"{output}: {count} bundles and {RECORD}; cryorepro verdict {output}/*.zip")


def _export_bundle(
    directory: Path,
    output: Path,
    outputs: str,
    authors: list[str],
    licence: str,
    key: Path | None,
    workflow: str | None,
) -> None:
    from cryorepro.bundle.export import ANONYMOUS, Person, write_bundle
    from cryorepro.bundle.outputs import parse_outputs
    from cryorepro.bundle.people import parse_author
    from cryorepro.bundle.registered import dataset_of

    said = Person([parse_author(text) for text in authors] or [ANONYMOUS], licence, key, workflow)
    facts = write_bundle(directory, output, dataset_of(directory), parse_outputs(outputs), said)
    if not authors:
        typer.echo("no author is named: --author 'NAME; ORCID; AFFILIATION'", err=True)
    for text in facts.info.left_out:
        typer.echo(f"left out: {text}", err=True)


def verify_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle (.zip).")],
    rerun_twin: Annotated[bool, typer.Option("--rerun-twin", help="Also repeat the twin here and compare.")] = False,
    key: Annotated[Path | None, typer.Option(help="Ed25519 public key (PEM) that must have signed it.")] = None,
    as_json: Json = False,
) -> None:
    """Check a bundle offline: structure, sums, journal, numbers, verdicts. Exit code 0 when all of it holds, else 1."""
    from cryorepro.bundle.verify import verify_bundle

    report = verify_bundle(bundle, key)
    repeated = _repeat_twin(report, as_json) if rerun_twin and report.holds else None
    if as_json:
        rows = [{"kind": finding.kind, "text": finding.text} for finding in report.findings]
        typer.echo(json.dumps({"holds": report.holds, "findings": rows, "rerun": repeated and repeated.word}))
    else:
        _print_report(report)
        if repeated:
            _print_against(repeated)
    if not report.holds:
        raise typer.Exit(FAILED)
    raise typer.Exit(0 if repeated is None else _exit_code(repeated))


def import_command(
    source: Annotated[Path, typer.Argument(help="A bundle (.zip), or what another program left: its project folder.")],
    by: Annotated[str | None, typer.Option("--by", help="An importer; default the one that recognises it.")] = None,
) -> None:
    """Keep someone else's run in the store, apart from your own: a bundle that verifies, or another program's."""
    from cryorepro.bundle.imported import PREFIX, import_bundle
    from cryorepro.bundle.verify import verify_bundle
    from cryorepro.store.home import Home

    if source.suffix == ".zip" and by is None:
        directory = import_bundle(Home.locate(), verify_bundle(source))
    else:
        directory = _import_foreign(source, by)
    typer.echo(f"{PREFIX}{directory.name}: kept as someone else's run; cryorepro show {PREFIX}{directory.name}")


def _import_foreign(source: Path, by: str | None) -> Path:
    from cryorepro.bundle.foreign import import_foreign
    from cryorepro.plugins.implementation import guarded, instantiate
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.plugins.types import Importer
    from cryorepro.store.home import Home

    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    catalogue = load_catalogue()
    for registered in [catalogue.get(Importer, by)] if by else catalogue.all(Importer):
        importer = instantiate(registered)
        with guarded(registered, "reading"):
            if by or importer.recognises(source):
                return import_foreign(Home.locate(), importer.read(source))
    known = ", ".join(entry.name for entry in catalogue.all(Importer))
    raise InputError(f"{source}: neither a bundle nor anything that an importer recognises ({known})")


def reproduce_from_bundle(path: Path, context: typer.Context, as_json: bool) -> NoReturn:
    """``cryorepro reproduce paper.zip``: run it here, and hold it against the authors' run."""
    from cryorepro.bundle.verify import verify_bundle
    from cryorepro.compare.verdict.words import parse_level

    level, changes = parse_level(context.params["require"]), _changes(context)
    report = verify_bundle(path)
    if not report.holds:
        problems = [finding.text for finding in report.findings if finding.kind == "problem"]
        raise InputError(f"not run, because the bundle does not hold: {problems[0]}")
    rerun = _run(report, changes, as_json)
    if not as_json:
        _print_against(rerun)
    raise typer.Exit(_exit_code(rerun, level))


def _changes(context: typer.Context) -> dict[str, Any]:
    """What the command line changes of the bundle's own options; what decides the experiment stays the bundle's.

    Raises:
        InputError: an option was given that would make it another experiment.
    """
    from cryorepro.workflow.options import parse_runners

    given = {
        name: value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }
    for name in ("tier", "setting", "data_seed", "dry_run", "seeds", "replicates"):
        if name in given:
            option = "--set" if name == "setting" else f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: a bundle says itself what was run; this option would make it another run")
    changes: dict[str, Any] = {"threads": len(os.sched_getaffinity(0))}
    changes |= {name: given[name] for name in _FREE if name in given}
    if "runner" in given:
        changes["runners"] = parse_runners(",".join(given["runner"]))
    if "data" in given:
        if not given["data"].exists():
            raise InputError(f"--data {given['data']}: no such file or directory")
        changes["data_path"] = str(given["data"].resolve())
    return changes


def _repeat_twin(report: Report, as_json: bool) -> Rerun:
    assert report.bundle is not None
    tier = report.bundle.facts.settings["tier"]
    if tier != "twin":
        raise InputError(
            f"--rerun-twin: the bundle's run used tier '{tier}'; use 'cryorepro reproduce' with --data PATH"
        )
    return _run(report, {"threads": len(os.sched_getaffinity(0))}, as_json)


def _run(report: Report, changes: dict[str, Any], as_json: bool) -> Rerun:
    from cryorepro.bundle.rerun import reproduce_bundle
    from cryorepro.cli.progress import choose_listener, print_json_line
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.store.home import Home
    from cryorepro.workflow.indexing import index_run

    assert report.bundle is not None
    home, listener = Home.locate().ensure(), choose_listener(as_json)
    rerun = reproduce_bundle(home, load_catalogue(), report.bundle, changes, listener, sys.argv[1:])
    index_run(home, rerun.record["run"])
    if as_json:
        rows = [vars(row) for row in rerun.rows]
        keys = ("run", "status", "verdict")
        axes = {"performance": rerun.between.performance, "assurance": rerun.between.assurance}
        result = {key: rerun.record[key] for key in keys} | {"against": rerun.word, **axes, "rows": rows}
        print_json_line("result", result)
    return rerun


def _exit_code(rerun: Rerun, level: OutcomeWord | None = None) -> int:
    from cryorepro.compare.reproduce import EXIT_INTERRUPTED
    from cryorepro.compare.verdict.words import exit_code as exit_code_of

    return EXIT_INTERRUPTED if rerun.record["status"] == "interrupted" else exit_code_of(rerun.word, level)


def _print_report(report: Report) -> None:
    from rich.console import Console

    out = Console(soft_wrap=True)
    style = {"holds": "green", "note": "dim", "problem": "red"}
    for finding in report.findings:
        out.print(f"[{style[finding.kind]}]{finding.kind:8}[/]", end=" ")
        out.print(finding.text, markup=False, highlight=False)
    out.print("the bundle holds" if report.holds else "the bundle does not hold", style="bold")


def _print_against(rerun: Rerun) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cryorepro.cli.verdict import print_axes, word

    table = Table(title="AGAINST THE AUTHORS' RUN", title_justify="left", box=None, pad_edge=False)
    for column in ("outcome", "theirs", "here", "margin", "verdict", "why"):
        table.add_column(column, overflow="fold")
    for row in rerun.rows:
        cells = [row.outcome, row.theirs or "-", row.here or "-", row.margin or "-"]
        table.add_row(*cells, word(row.word), escape(row.reason))
    out = Console()
    out.print(table)
    print_axes(rerun.between, out)
    out.print(f"Verdict [bold]{word(rerun.word)}[/bold]   run {escape(rerun.record['run'])}", highlight=False)
