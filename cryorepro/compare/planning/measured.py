"""Stage times from this store's own runs: one run for each machine they are to be planned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.machines import Machines
from cryorepro.model.stage_times import StageTime, StageTimes, TimesTable


def measured_table(records: Sequence[tuple[str, Mapping[str, Any]]], machines: Machines, benchmark: str) -> TimesTable:
    """The table of finished runs, each given with the instance it ran on.

    Raises:
        InputError: a run is not finished, or the runs are of different benchmarks, tiers or stages; or an instance
            is not known.
    """
    first = records[0][1]
    wanted = _identity(first)
    if wanted[0] != benchmark:
        raise InputError(f"run {first['run']} is of benchmark '{wanted[0]}', not of '{benchmark}'")
    times: dict[str, dict[tuple[str, int], StageTime]] = {name: {} for name in first["stages"]}
    for instance, record in records:
        if instance not in machines.instances:
            raise InputError(f"instance '{instance}' is not in the registry ('cryorepro registry machines' lists it)")
        if _identity(record) != wanted or list(record["stages"]) != list(times):
            raise InputError(f"runs {first['run']} and {record['run']} are not of the same benchmark, tier and stages")
        gpus = 1 if str(record["settings"].get("device", "cpu")).startswith("cuda") else 0
        for name, stage in record["stages"].items():
            if stage["status"] != "completed":
                raise InputError(f"run {record['run']}: stage '{name}' is {stage['status']}; its time cannot be used")
            seconds, key = stage["usage"]["wall_seconds"], (instance, gpus)
            if seconds is None:
                raise InputError(f"run {record['run']}: how long stage '{name}' took is not known")
            slower = times[name].get(key)
            if slower is None or slower.seconds < seconds:
                times[name][key] = StageTime(instance=instance, gpus=gpus, seconds=seconds, source=record["run"])
    return TimesTable(
        schema_version=1,
        title=f"measured stages of {wanted[0]}, tier {wanted[1]}",
        source="; ".join(str(record["run"]) for _, record in records),
        stages=[StageTimes(name=name, times=list(by_machine.values())) for name, by_machine in times.items()],
    )


def _identity(record: Mapping[str, Any]) -> tuple[str, str]:
    return str(record["settings"]["benchmark"]), str(record["settings"]["tier"])
