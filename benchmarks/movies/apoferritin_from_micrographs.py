"""From real micrographs to a map, unattended: what each stage took, and how good picks and map are.

    python -m benchmarks.movies.apoferritin_from_micrographs --data .../apoferritin_EMPIAR-10146 [--threads 2]

Runs the benchmark ``empiar-10146-micrographs`` in a store of its own (or in ``CRYOREPRO_HOME``, with ``--run RUN`` for
one that is there) and prints its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SPEC = "empiar-10146-micrographs"


def command(arguments: Sequence[str], home: str) -> str:
    """What ``cryorepro`` prints; a verdict below the declared margins is a result, not an error."""
    argv = [sys.executable, "-m", "cryorepro", *arguments]
    done = subprocess.run(argv, env=os.environ | {"CRYOREPRO_HOME": home}, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3, 4):
        raise RuntimeError(f"{' '.join(arguments)}: exit code {done.returncode}")
    return done.stdout


def stage_rows(shown: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, stage in sorted(shown["stages"].items(), key=lambda entry: entry[1]["attempts"][0]["started_at"]):
        tries = stage["attempts"]
        cpu = sum(attempt["cpu_seconds"] or 0.0 for attempt in tries)
        wall = sum(attempt["ended_at"] - attempt["started_at"] for attempt in tries)
        counts = ", ".join(f"{count} {what}" for what, count in (stage.get("rows") or {}).items())
        rows.append(f"| {name} | {cpu:.1f} | {wall:.1f} | {counts} |")
    return rows


def outcome_rows(shown: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, outcome in shown["outcomes"].items():
        value = outcome["value"]
        details = value["details"]
        said = f"{value['value']:g} {value['unit']}"
        if value["unit"] == "shells":
            said = f"{value['box_px'] * value['pixel_size_angstrom'] / value['value']:.2f} A (shell {value['value']:g})"
        more = {key: details[key] for key in ("shell_at_0.143", "shell_of_other_hand", "worst_micrograph", "picked",
                                             "labelled", "random_pose_shell") if key in details}  # fmt: skip
        rows.append(f"| {name} | {said} | {', '.join(f'{key} {entry}' for key, entry in more.items())} |")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, or look at a run, and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--run", help="a finished run of the store instead of a new one")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    if (given.data is None) == (given.run is None):
        parser.error("give --data or --run")
    with tempfile.TemporaryDirectory() as temporary:
        home = os.environ.get("CRYOREPRO_HOME", temporary)
        if given.data is not None:
            threads = str(given.threads)
            command(["reproduce", SPEC, "--data", str(given.data.absolute()), "--threads", threads], home)
        shown = json.loads(command(["show", given.run or "latest", "--json"], home))
    print("| stage | CPU s | wall s | rows |\n|---|---|---|---|")
    print("\n".join(stage_rows(shown)))
    print("\n| outcome | value | details |\n|---|---|---|")
    print("\n".join(outcome_rows(shown)))


if __name__ == "__main__":
    main()
