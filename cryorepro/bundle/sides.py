"""Whatever a person names as a run: an identifier, a run directory, an imported run, a bundle, or a set of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryorepro.bundle.against import bundle_origin
from cryorepro.bundle.imported import FOLDER, PREFIX, imported_record
from cryorepro.bundle.verify import verified_bundle
from cryorepro.compare.ensemble.record import SET_PREFIX, find_set, set_record
from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.strict_yaml import load_record
from cryorepro.store.chain import EVENTS
from cryorepro.store.home import Home
from cryorepro.workflow.record import run_record
from cryorepro.workflow.rundir import RunDirectory


@dataclass(frozen=True)
class Side:
    """One run to compare: its record, and the benchmark as it was when the run began."""

    name: str
    record: dict[str, Any]
    benchmark: Benchmark


def load_side(home: Home, name: str) -> Side:
    """One run.

    Raises:
        InputError: there is no such run, or the bundle does not hold.
        StoreError: its journal does not hold.
    """
    path = Path(name)
    if name.endswith(".zip"):
        bundle = verified_bundle(path)
        record = {**bundle.facts.record, "origin": bundle_origin(bundle, home)}
        return Side(f"{path.name} ({bundle.facts.run})", record, bundle.facts.benchmark)
    if name.startswith(PREFIX):
        record = imported_record(home, name)
        return Side(name, record, _benchmark(home.root / FOLDER / record["run"]))
    directory = path.resolve() if (path / EVENTS).is_file() else home.find_run(name)
    return Side(directory.name, run_record(directory), _benchmark(directory))


def load_sides(home: Home, names: list[str]) -> list[Side]:
    """Several runs; a set stands for all of its members that were begun.

    Raises:
        InputError: as :func:`load_side`, nothing was named, or a run was named twice.
        StoreError: as :func:`load_side`.
    """
    sides: list[Side] = []
    for name in names:
        if name.startswith(SET_PREFIX):
            members = set_record(find_set(home, name))["members"]
            sides += [load_side(home, member["run"]) for member in members if member["run"]]
        else:
            sides.append(load_side(home, name))
    if not sides:
        raise InputError("no run was named")
    seen: set[str] = set()
    for side in sides:
        if side.record["run"] in seen:
            raise InputError(f"run {side.record['run']} is named twice; a run is no replicate of itself")
        seen.add(side.record["run"])
    return sides


def _benchmark(directory: Path) -> Benchmark:
    return load_record(RunDirectory(directory).spec, Benchmark)
