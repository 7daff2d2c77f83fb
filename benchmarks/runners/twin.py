"""Our engine against the real RELION on the 10028 twin: the same files, classes and iterations, several seeds.

    python benchmarks/runners/twin.py --seeds 1 2 3 --set class3d.healpix_order=1

Runs ``cryorepro reproduce empiar-10028`` with both runners, interleaved seed by seed, and prints a table of what
each found. A run that the store already holds, complete and with the same parameters, is not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

RUNNERS = ("relion", "relion-like")
OUTCOMES = ("resolution", "class-accuracy", "pose-error", "map-to-truth")


def command(*arguments: str) -> str:
    """Output of one cryorepro command; a verdict of any kind is fine, anything else is not."""
    done = subprocess.run([sys.executable, "-m", "cryorepro", *arguments], capture_output=True, text=True)
    if done.returncode not in (0, 3, 4):
        raise SystemExit(done.stderr or done.stdout)
    return done.stdout


def find(runner: str, seed: int, settings: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """A complete run of the store with this runner, seed and these settings."""
    for row in json.loads(command("runs", "--benchmark", "empiar-10028", "--limit", "1000", "--json")):
        if row["status"] != "completed" or row["seed"] != seed:
            continue
        record: dict[str, Any] = json.loads(command("show", row["run_uid"], "--json"))
        parameters = record["settings"]["parameters"]["class3d"]
        asked = {"healpix_order": 2, "iterations": 25, **settings.get("class3d", {})}
        same_parameters = all(parameters[name] == value for name, value in asked.items())
        same_twin = record["settings"]["tier_parameters"] == settings.get("data", {})
        if same_parameters and same_twin and record["settings"]["runners"]["class3d"] == runner:
            return record
    return None


def run(runner: str, seed: int, items: Sequence[str]) -> dict[str, Any]:
    """Reproduce, or take the run that is there."""
    settings: dict[str, dict[str, Any]] = {}
    for item in items:
        path, _, value = item.partition("=")
        stage, _, name = path.partition(".")
        settings.setdefault(stage, {})[name] = json.loads(value)
    found = find(runner, seed, settings)
    if found is None:
        chosen = [part for item in items for part in ("--set", item)]
        command("reproduce", "empiar-10028", "--runner", runner, "--seed", str(seed), *chosen)
        found = find(runner, seed, settings)
    assert found is not None, "the run that was just made is not in the store"
    return found


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], dest="items")
    arguments = parser.parse_args()
    rows = {(seed, runner): run(runner, seed, arguments.items) for seed in arguments.seeds for runner in RUNNERS}
    print("| seed | runner | classes | iterations | " + " | ".join(OUTCOMES) + " | CPU-s | wall s |")
    print("|" + "---|" * (6 + len(OUTCOMES)))
    for (seed, runner), record in rows.items():
        print(table_row(str(seed), runner, [record]))
    for runner in RUNNERS:
        print(table_row("median", runner, [rows[seed, runner] for seed in arguments.seeds]))
    differences(arguments.seeds, rows)
    ours, theirs = ([rows[seed, runner]["run"] for seed in arguments.seeds] for runner in reversed(RUNNERS))
    print(command("verdict", *ours, *(part for run in theirs for part in ("--against", run))))


def table_row(label: str, runner: str, records: list[dict[str, Any]]) -> str:
    """One line: medians over ``records``."""
    stages = [record["stages"]["class3d"] for record in records]
    fields = [label, runner, str(stages[0]["parameters"]["number_of_classes"]), str(stages[0]["iterations"])]
    for name in OUTCOMES:
        fields.append(f"{statistics.median(record['outcomes'][name]['value']['value'] for record in records):.4g}")
    for use in ("cpu_seconds", "wall_seconds"):
        fields.append(f"{statistics.median(stage['usage'][use] for stage in stages):.0f}")
    return "| " + " | ".join(fields) + " |"


def differences(seeds: list[int], rows: dict[tuple[int, str], dict[str, Any]]) -> None:
    """How far ours is from RELION, seed by seed."""
    print("\nours minus RELION, per seed:")
    for name in OUTCOMES:
        values = [
            rows[seed, "relion-like"]["outcomes"][name]["value"]["value"]
            - rows[seed, "relion"]["outcomes"][name]["value"]["value"]
            for seed in seeds
        ]
        print(f"  {name}: " + ", ".join(f"{value:+.4g}" for value in values))


if __name__ == "__main__":
    main()
