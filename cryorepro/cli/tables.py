"""Tables for a person: runs, one run, a benchmark, a dataset, a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from cryorepro.cli.noise_tables import print_noise, print_visible
from cryorepro.cli.verdict import print_verdict
from cryorepro.compare.conditions import differing_conditions
from cryorepro.compare.judge import claim_value, shown
from cryorepro.model.benchmark import Benchmark, OutcomeSpec
from cryorepro.model.claim import Claim


def _plain(*columns: str, title: str) -> Table:
    return Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)


def seconds(value: float | None) -> str:
    """A duration: seconds below two minutes, minutes above."""
    if value is None:
        return "-"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def megabytes(value: float | None) -> str:
    """A size in MB."""
    return "-" if value is None else f"{value / 1e6:,.0f} MB"


def print_runs(rows: list[dict[str, Any]]) -> None:
    """The list of runs."""
    table = _plain(title="runs")
    table.add_column("run", no_wrap=True)
    for column in ("benchmark", "tier", "runners", "seed", "status", "elapsed"):
        table.add_column(column)
    for row in rows:
        runners = row["runners"]
        text = runners if isinstance(runners, str) else ", ".join(dict.fromkeys(dict(runners or {}).values()))
        table.add_row(
            row["run_uid"], row["benchmark"] or "-", row["tier"] or "-", escape(text or "-"), str(row["seed"] or "-"),
            row["status"], seconds(row["elapsed_seconds"]),
        )  # fmt: skip
    Console().print(table)


def print_run(record: Mapping[str, Any], claims: Mapping[str, Claim]) -> None:
    """One run: what it was, stages with their use of the machine, outcomes, verdicts."""
    out = Console()
    settings = record["settings"]
    out.print(
        f"[bold]{escape(record['run'])}[/bold]  {settings['benchmark']} {settings['benchmark_version']}, "
        f"tier {settings['tier']}, {_seed_and_threads(settings)}status {record['status']}, "
        f"{len(record['attempts'])} attempts",
        highlight=False,
    )
    check = record["integrity"]
    state = "chain intact" + (", sealed" if check["sealed"] else ", not sealed") if check["intact"] else check["reason"]
    out.print(f"journal: {state}", markup=False, highlight=False)
    if record.get("keys"):
        science, performance = (record["keys"][f"{part}_sha256"][:16] for part in ("science", "performance"))
        text = f"keys: science {science}, performance {performance}, rules@{record['keys']['rules_version']}"
        out.print(text, highlight=False)
    if record["data"]:
        rows = ", ".join(f"{count:,} {name}" for name, count in record["data"]["rows"].items())
        out.print(f"data: {rows}; {record['data']['origin']}", markup=False, highlight=False)
        for erratum in record["data"]["errata"]:
            out.print(f"erratum {erratum['id']}: {erratum['action']} ({erratum['evidence']})", markup=False)
    out.print(_stage_table(record["stages"]))
    _print_departures(out, record["stages"])
    print_noise(out, record)
    outcomes = _plain("outcome", "value", "status", title="OUTCOMES")
    for name, outcome in record["outcomes"].items():
        outcomes.add_row(
            name,
            shown(outcome) or "-",
            outcome["status"] + (f": {outcome['reason']}" if outcome["reason"] else ""),
        )
    out.print(outcomes)
    _print_conditions(out, record, claims)
    if record["verdicts"]:
        print_verdict(dict(record), out)


def _seed_and_threads(settings: Mapping[str, Any]) -> str:
    """Nothing of what a run of another program does not tell."""
    seed, threads = settings["seed"], settings["threads"]
    return ("" if seed is None else f"seed {seed}, ") + ("" if threads is None else f"{threads} threads, ")


def _print_conditions(out: Console, record: Mapping[str, Any], claims: Mapping[str, Claim]) -> None:
    """What differs from the claims' conditions; claims with the same conditions are named together."""
    groups: dict[tuple[tuple[str, str, str], ...], list[str]] = {}
    for verdict in record["verdicts"]:
        claim = claims.get(verdict["claim"] or "")
        if claim is not None:
            groups.setdefault(tuple(differing_conditions(record, claim)), []).append(claim.id)
    for rows, names in groups.items():
        out.print(f"CONDITIONS that differ from {', '.join(names)}", style="italic", highlight=False)
        for condition, published, here in rows:
            text = f"{condition}: published {published}; here {here}"
            out.print(Padding(escape(text), (0, 0, 0, 2)), highlight=False)


def _stage_table(stages: Mapping[str, Any]) -> Table:
    table = _plain(
        "stage", "runner", "status", "it", "seed", "wall", "CPU", "memory", "read", "written", title="STAGES"
    )
    for name, stage in stages.items():
        usage = stage.get("usage", {})
        table.add_row(
            name, stage.get("runner", "-"), stage["status"], str(stage.get("iterations") or "-"),
            str(stage.get("seed_read_back") or "-"), seconds(usage.get("wall_seconds")),
            seconds(usage.get("cpu_seconds")), megabytes(usage.get("peak_memory_bytes")),
            megabytes(usage.get("read_bytes")), megabytes(usage.get("written_bytes")),
        )  # fmt: skip
    return table


def _print_departures(out: Console, stages: Mapping[str, Any]) -> None:
    for name, stage in stages.items():
        for departure in stage.get("departures", []):
            out.print(f"  {name} departs from the published parameters: {departure}", markup=False, highlight=False)
        for flag in stage.get("perturbed", []):
            text = f"  {name} perturbed ({flag['reason']}): {flag['detail']}"
            out.print(text, markup=False, highlight=False)
        for note in stage.get("notes", []):
            out.print(f"  {name}: {note}", markup=False, highlight=False)


def print_benchmark(benchmark: Benchmark, claims: Mapping[str, Claim]) -> None:
    """A benchmark: what is run, on what, and what was published."""
    out = Console()
    out.print(f"[bold]{benchmark.name}[/bold] {benchmark.version}  {escape(benchmark.title)}", highlight=False)
    out.print(benchmark.summary, markup=False, highlight=False)
    if benchmark.canonical_command:
        out.print(f"published command: {benchmark.canonical_command}", markup=False, highlight=False)
    for departure in benchmark.departures:
        out.print(f"  not taken over: {departure.option}: {departure.reason}", markup=False, highlight=False)
    out.print("STAGES", style="italic")
    for stage in benchmark.stages:
        parameters = ", ".join(f"{name}={value}" for name, value in stage.parameters.items())
        inputs = ", ".join(stage.inputs.values())
        out.print(f"  {stage.name} ({stage.kind}) from {inputs}", markup=False, highlight=False)
        out.print(Padding(escape(parameters), (0, 0, 0, 4)), highlight=False)
    for tier, spec in benchmark.tiers.items():
        expected = f", about {spec.expected_minutes:g} min" if spec.expected_minutes else ""
        out.print(f"tier {tier}{expected}", highlight=False)
        for name, override in spec.overrides.items():
            changed = ", ".join(f"{key}={value}" for key, value in override.parameters.items())
            out.print(f"  {name}: {changed}: {override.reason}", markup=False, highlight=False)
    out.print("OUTCOMES", style="italic")
    for outcome in benchmark.outcomes:
        _print_outcome_spec(out, outcome)
    if benchmark.claims:
        out.print("PUBLISHED CLAIMS", style="italic")
        for claim in (claims[identifier] for identifier in benchmark.claims if identifier in claims):
            out.print(
                f"  {claim.id}: {claim_value(claim)}; {claim.hardware}, {claim.software}",
                markup=False,
                highlight=False,
            )
            text = "; ".join([f"{claim.source}, {claim.locator} ({claim.quality})", *claim.defects])
            out.print(Padding(escape(text), (0, 0, 0, 4)), highlight=False, style="dim")


def _print_outcome_spec(out: Console, outcome: OutcomeSpec) -> None:
    out.print(f"  {outcome.name}: {outcome.metric} of {outcome.stage}", markup=False, highlight=False)
    held = [(f"claim {outcome.claim}", None, outcome.tolerance)] if outcome.tolerance else []
    rows = held + [(f"tier {tier}", expect.value, expect.tolerance) for tier, expect in outcome.expect.items()]
    for label, value, tolerance in rows:
        direction = {"both": "+-", "at-least": "at least, -", "at-most": "at most, +"}[tolerance.direction]
        expected = "" if value is None else f"{value:g} "
        text = f"{label}: {expected}{direction}{tolerance.margin:g} {tolerance.unit}: {tolerance.reason}"
        out.print(Padding(escape(text), (0, 0, 0, 4)), highlight=False)


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Two runs side by side."""
    out = Console()
    first, second = comparison["runs"]
    machine = comparison["machine"]
    counts = ", ".join(f"{len(machine[effect])} ({effect})" for effect in ("science", "performance", "neither"))
    out.print(f"machine: {machine['same']} fields the same, differs {counts}", highlight=False)
    for part in ("settings", "data", "parameters", "environment"):
        rows = comparison[part]
        if not rows:
            out.print(f"{part}: the same", highlight=False)
            continue
        table = _plain(part, first, second, title="")
        for name, left, right in rows:
            table.add_row(name, escape(_short(left)), escape(_short(right)))
        out.print(table)
    outcomes = _plain("outcome", first, second, "difference", title="")
    for row in comparison["outcomes"]:
        difference = "-" if row["difference"] is None else f"{row['difference']:+.4g} {row['unit']}"
        outcomes.add_row(row["outcome"], *row["shown"], difference)
    out.print(outcomes)
    stages = _plain("stage", "runner", "iterations", "wall", "ratio", "", "CPU", "ratio", "memory", title="")
    for row in comparison["stages"]:
        stages.add_row(
            row["stage"], " | ".join(map(str, row["runner"])), " | ".join(map(str, row["iterations"])),
            " | ".join(map(seconds, row["wall_seconds"])), _ratio(row["wall_ratio"]), row["wall_standing"] or "-",
            " | ".join(map(seconds, row["cpu_seconds"])), _ratio(row["cpu_ratio"]),
            " | ".join(map(megabytes, row["peak_memory_bytes"])),
        )  # fmt: skip
    out.print(stages)
    print_visible(out, comparison)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
