"""Carries a plan out: data, fingerprint, stages, outcomes; each is in the journal before the next begins."""

from __future__ import annotations

from typing import Any

from cryorepro.model.dataset import DataRequest
from cryorepro.model.stage import StageFailure
from cryorepro.store.home import Home
from cryorepro.workflow.calibrate import load, machine_key
from cryorepro.workflow.context import Context
from cryorepro.workflow.files import sha256_of, write_json
from cryorepro.workflow.fingerprint import take_with_raw
from cryorepro.workflow.plan import PlannedStage, RunPlan
from cryorepro.workflow.stage_run import StageRun

_PREPARED = ("rows", "errata", "origin", "parameters", "box_px", "pixel_size_angstrom")


def execute(context: Context) -> None:
    """Do everything that the journal does not show as done.

    Raises:
        Interrupted: asked to stop; resumable.
        StageFailure: a stage failed; its class and sentence are in the journal.
        StoreError: the run can no longer be recorded.
    """
    context.directory.root.joinpath("attempts").mkdir(exist_ok=True)
    context.watch.beat()
    data = _prepare_data(context)
    _take_fingerprint(context)
    for stage in context.plan.stages:
        if stage.name in context.history.outputs:
            _check_done(context, stage)
        else:
            StageRun(context, stage, data).run()
    _measure(context, data)


def data_request(home: Home, plan: RunPlan) -> DataRequest:
    """What a plan asks of its dataset."""
    options = plan.options
    return DataRequest(
        tier=options.tier,
        directory=home.data,
        truth_directory=home.truth,
        seed=options.data_seed,
        local_path=options.data_path,
        parameters={**plan.benchmark.tiers[options.tier].parameters, **options.data_parameters},
    )


def _prepare_data(context: Context) -> dict[str, Any]:
    dataset, tier = context.plan.benchmark.dataset, context.plan.options.tier
    context.say("preparing_data", dataset=dataset, tier=tier)
    request = data_request(context.home, context.plan)
    content = context.helper("prepare", {"dataset": dataset, "request": request.model_dump(mode="json")})
    if not content["ok"]:
        raise StageFailure("data", content["error"])
    prepared = content["prepared"]
    event = {
        "dataset": dataset,
        "tier": tier,
        "files": content["files"],
        **{name: prepared[name] for name in _PREPARED},
        "truth": bool(content["truth"]),
    }
    if context.history.data is None:
        context.journal.append("data_prepared", event)
    else:
        _check_same_data(context.history.data, content)
    context.say("data_prepared", **event)
    return dict(content)


def _check_same_data(before: dict[str, Any], now: dict[str, Any]) -> None:
    old, new = ({entry["role"]: entry["sha256"] for entry in side["files"]} for side in (before, now))
    changed = sorted(role for role in old.keys() | new.keys() if old.get(role) != new.get(role))
    if changed:
        raise StageFailure("data", f"input '{changed[0]}' is not what this run began with; start a new run")


def _take_fingerprint(context: Context) -> None:
    if context.history.fingerprint is not None:
        return
    root = context.directory.root
    roles = {"input": context.plan.options.data_path or context.home.data, "scratch": root, "output": root}
    results, raw = take_with_raw(context.catalogue, roles)
    context.directory.private_readings.parent.mkdir(mode=0o700, exist_ok=True)
    write_json(context.directory.private_readings, raw)
    probes = [probe.model_dump(mode="json") for probe in results]
    calibration = _calibrate(context, probes)
    context.journal.append("fingerprint_recorded", {"probes": probes, "calibration": calibration})
    context.say("fingerprint_recorded", probes=probes, calibration=calibration)


def _calibrate(context: Context, probes: list[dict[str, Any]]) -> dict[str, Any] | None:
    """How well this machine repeats itself, as it was measured since its system started or is measured now."""
    options = context.plan.options
    seconds = options.calibration_seconds
    if seconds <= 0:
        return None
    folder, key = context.home.calibrations, machine_key(probes, options.threads, seconds)
    kept = load(folder, key)
    if kept is not None:
        return kept.model_dump(mode="json")
    context.say("calibrating", seconds=seconds)
    job = {"folder": str(folder), "key": key, "seconds": seconds, "threads": options.threads}
    try:
        return dict(context.helper("calibrate", job))
    except StageFailure:  # what it was to tell is then not told; the run itself lacks nothing
        return None


def _check_done(context: Context, stage: PlannedStage) -> None:
    for entry in context.history.outputs[stage.name]["outputs"]:
        path = context.directory.root / entry["path"]
        if not path.is_file() or sha256_of(path) != entry["sha256"]:
            message = f"stage '{stage.name}': output '{entry['role']}' changed since it was recorded"
            raise StageFailure("incomplete-output", f"{message}; start a new run")
    context.say("stage_skipped", stage=stage.name)


def _measure(context: Context, data: dict[str, Any]) -> None:
    done = {outcome["outcome"] for outcome in context.history.outcomes}
    benchmark, tier = context.plan.benchmark, context.plan.options.tier
    wanted = [spec for spec in benchmark.outcomes if spec.name not in done and tier in spec.tiers]
    if not wanted:
        return
    context.say("measuring", outcomes=[spec.name for spec in wanted])
    outputs = context.history.outputs
    job = {
        "run": str(context.directory.root),
        "outcomes": [spec.model_dump(mode="json") for spec in wanted],
        "stages": {
            stage.name: {**outputs[stage.name], "parameters": stage.parameters} for stage in context.plan.stages
        },
        "data": data,
    }
    for outcome in context.helper("measure", job):
        event = {"outcome": outcome.pop("name"), **outcome}
        context.journal.append("outcome_measured", event)
        context.history.outcomes.append(event)
        context.say("outcome_measured", **event)
