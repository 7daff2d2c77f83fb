"""What was done: an action for every stage, the engine that ordered them, the run as a whole."""

from __future__ import annotations

import base64
from typing import Any

from cryorepro.bundle.citation import title
from cryorepro.bundle.crate_terms import MEDIA_TYPES, USAGE
from cryorepro.bundle.crate_workflow import parameter_id, step_id, tool_id
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.graph import Entity, Graph, reference
from cryorepro.bundle.layout import SPEC
from cryorepro.bundle.stage_use import stage_use
from cryorepro.bundle.wording import accession_url, iso, planned_stages

_DONE, _FAILED = "http://schema.org/CompletedActionStatus", "http://schema.org/FailedActionStatus"


def stage_action_id(stage: str) -> str:
    """Identifier of the action of a stage."""
    return f"#stage-{stage}"


def content_id(sha256: str) -> str:
    """A file that is not in here, named by its hash (RFC 6920)."""
    digest = base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
    return f"ni:///sha-256;{digest}"


def add_actions(graph: Graph, facts: Facts, agent: Entity, members: list[str]) -> list[Entity]:
    """All actions; returns references to them, the run first."""
    names = list(planned_stages(facts))
    stages = [_stage_action(graph, facts, name, agent) for name in names]
    controls = [
        graph.add(
            f"#control-{name}", "ControlAction", name=f"orchestrate {name}", instrument=reference(step_id(name)),
            object=action, agent=agent,
        )
        for name, action in zip(names, stages, strict=True)
    ]  # fmt: skip
    run = _run_action(graph, facts, agent, members)
    if not names:
        return [run]
    engine = graph.add(
        f"urn:cryorepro:{facts.settings['cryorepro_version']}", "SoftwareApplication", name="cryorepro",
        softwareVersion=facts.settings["cryorepro_version"],
        url=f"urn:cryorepro:{facts.settings['cryorepro_version']}", description="runs benchmarks and gives verdicts",
    )  # fmt: skip
    order = graph.add(
        "#orchestration", "OrganizeAction", name=f"cryorepro run {facts.run}", instrument=engine, object=controls,
        result=run, agent=agent, startTime=iso(facts.events[0].time), endTime=iso(facts.ended),
    )  # fmt: skip
    return [run, *stages, *controls, order]


def _run_action(graph: Graph, facts: Facts, agent: Entity, members: list[str]) -> Entity:
    data = facts.record["data"]
    inputs = [_data_file(graph, facts, entry) for entry in data["files"]] if data else []
    results = [_output(graph, facts, name, entry) for name, entry in _outputs(facts)]
    results += [reference(name) for name in ("record.json",) if name in members]
    return graph.add(
        "#run", "CreateAction", name=title(facts), description=" ".join(["cryorepro", *facts.settings["command"]]),
        instrument=reference(SPEC), agent=agent, object=[*inputs, *_values(graph, facts)], result=results,
        startTime=iso(facts.events[0].time), endTime=iso(facts.ended),
        actionStatus=_DONE if facts.record["status"] == "completed" else _FAILED, error=facts.record["reason"],
        resourceUsage=_usage(graph, "run", {"wall_seconds": facts.record["elapsed_seconds"]}),
    )  # fmt: skip


def _stage_action(graph: Graph, facts: Facts, name: str, agent: Entity) -> Entity:
    stage = facts.record["stages"][name]
    ended = [event.time for event in facts.events if event.type == "stage_ended" and event.data["stage"] == name]
    begun = [event.time for event in facts.events if event.type == "stage_planned" and event.data["stage"] == name]
    inputs = [_input(graph, facts, entry) for entry in stage["inputs"]]
    values = [reference(_value_id(name, key)) for key, value in stage["parameters"].items() if value is not None]
    completed = stage["status"] == "completed"
    attempts = stage["attempts"]
    return graph.add(
        stage_action_id(name), "CreateAction", name=f"{name} ({stage['kind']})", description=" ".join(stage["argv"]),
        instrument=reference(tool_id(stage)), agent=agent, object=[*inputs, *values],
        result=[_output(graph, facts, name, entry) for entry in stage["outputs"]],
        startTime=iso(begun[0]), endTime=iso(ended[-1]) if ended else None,
        actionStatus=_DONE if completed else _FAILED,
        error=None if completed else (attempts[-1].get("message") if attempts else None) or stage["status"],
        environment=[
            graph.add(f"#environment-{name}-{key}", "PropertyValue", name=key, value=text)
            for key, text in sorted(stage["environment"].items())
        ],
        resourceUsage=_usage(graph, name, stage_use(stage)),
    )  # fmt: skip


def _usage(graph: Graph, owner: str, values: dict[str, Any]) -> list[Entity]:
    return [
        graph.add(
            f"#usage-{owner}-{name}", "PropertyValue", name=label, value=str(values[name]), unitCode=unit,
            propertyID=f"urn:cryorepro:usage:{name}",
        )
        for name, (label, unit) in USAGE.items()
        if values.get(name) is not None
    ]  # fmt: skip


def _values(graph: Graph, facts: Facts) -> list[Entity]:
    """Parameters of all stages as they were used."""
    return [
        graph.add(
            _value_id(stage, name), "PropertyValue", name=f"{stage}.{name}", value=str(value),
            exampleOfWork=reference(parameter_id(f"{stage}-{name}")),
        )
        for stage, parameters in facts.settings["parameters"].items()
        for name, value in parameters.items()
        if value is not None
    ]  # fmt: skip


def _value_id(stage: str, name: str) -> str:
    return f"#value-{stage}-{name}"


def _data_file(graph: Graph, facts: Facts, entry: dict[str, Any]) -> Entity:
    """Input data by hash: the archive says where they are, never a path of the machine."""
    settings = facts.settings
    origin = facts.record["data"]["origin"]
    archived = f"{accession_url(facts)}#{entry['role']}" if settings["tier"] == "full" else None
    return graph.add(
        archived or content_id(entry["sha256"]), "File",
        name=f"{settings['dataset']} {settings['tier']}: {entry['role']}",
        description=f"{origin} (data seed {settings['data_seed']})", contentSize=str(entry["size_bytes"]),
        sha256=entry["sha256"], encodingFormat=_media(entry["path"]), isBasedOn=reference(accession_url(facts)),
        exampleOfWork=reference(parameter_id(f"data-{entry['role']}")), sdDatePublished=iso(facts.events[0].time),
    )  # fmt: skip


def _input(graph: Graph, facts: Facts, entry: dict[str, Any]) -> Entity:
    if entry["from_stage"] is None:
        role = entry["from"].partition(".")[2]
        return _data_file(graph, facts, {**entry, "role": role})
    source = facts.record["stages"][entry["from_stage"]]
    made = next((row for row in source["outputs"] if row["sha256"] == entry["sha256"]), None)
    return _output(graph, facts, entry["from_stage"], made or entry)


def _outputs(facts: Facts) -> list[tuple[str, dict[str, Any]]]:
    return [(name, entry) for name, stage in planned_stages(facts).items() for entry in stage["outputs"]]


def _output(graph: Graph, facts: Facts, stage: str, entry: dict[str, Any]) -> Entity:
    """The member that holds an output; one that stayed behind is named by its hash."""
    member = next((row.member for row in facts.info.artifacts if row.run_path == entry["path"]), None)
    if member is not None:
        return reference(member)
    return graph.add(
        content_id(entry["sha256"]), "File", name=entry["path"], contentSize=str(entry["size_bytes"]),
        sha256=entry["sha256"], encodingFormat=_media(entry["path"]), sdDatePublished=iso(facts.ended),
        description=f"output '{entry['role']}' of stage {stage}; not in this bundle",
        exampleOfWork=reference(parameter_id(f"{stage}-{entry['role']}")),
    )  # fmt: skip


def _media(path: str) -> str:
    return MEDIA_TYPES.get("." + path.rpartition(".")[2], "application/octet-stream")
