"""The run as W3C PROV-JSON, on request (``--with prov``): what each stage used and generated, and on whose behalf."""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.facts import Facts
from cryorepro.bundle.strict_json import render_json
from cryorepro.bundle.wording import iso, planned_stages, program_name

Rows = dict[str, dict[str, Any]]


def prov_json(facts: Facts) -> bytes:
    """``prov.json`` (W3C member submission PROV-JSON of 2013); files are named by their hash."""
    document: dict[str, Any] = {
        "prefix": {"c": "urn:cryorepro:", "run": f"urn:cryorepro:run:{facts.run}:", "sha256": "urn:sha256:"},
        "entity": {"run:spec": {"prov:label": f"{facts.benchmark.name} {facts.benchmark.version}"}},
        "agent": {"c:program": {"prov:type": "prov:SoftwareAgent", "prov:label": _program(facts)}},
        "activity": {},
        "used": {},
        "wasGeneratedBy": {},
        "wasAssociatedWith": {},
    }
    for number, author in enumerate(facts.info.authors, 1):
        document["agent"][f"run:author-{number}"] = {"prov:type": "prov:Person", "prov:label": author.name}
    for name, stage in planned_stages(facts).items():
        _add_stage(document, facts, name, stage)
    for name, outcome in facts.record["outcomes"].items():
        _add_outcome(document, name, outcome)
    return render_json(document)


def _program(facts: Facts) -> str:
    return f"cryorepro {facts.settings['cryorepro_version']}"


def _add_stage(document: dict[str, Any], facts: Facts, name: str, stage: dict[str, Any]) -> None:
    activity = f"run:stage-{name}"
    times = {
        kind: [iso(event.time) for event in facts.events if event.type == kind and event.data["stage"] == name]
        for kind in ("stage_planned", "stage_ended")
    }
    described = {"prov:label": f"{name}: {' '.join(stage['argv'])}", "prov:startTime": times["stage_planned"][0]}
    if times["stage_ended"]:
        described["prov:endTime"] = times["stage_ended"][-1]
    document["activity"][activity] = described
    runner = f"c:runner-{stage['runner']}"
    document["agent"][runner] = {"prov:type": "prov:SoftwareAgent", "prov:label": program_name(stage)}
    _relate(document, "wasAssociatedWith", {"prov:activity": activity, "prov:agent": runner, "prov:plan": "run:spec"})
    for entry in stage["inputs"]:
        _relate(document, "used", {"prov:activity": activity, "prov:entity": _file(document, entry)})
    for entry in stage["outputs"]:
        _relate(document, "wasGeneratedBy", {"prov:entity": _file(document, entry), "prov:activity": activity})


def _add_outcome(document: dict[str, Any], name: str, outcome: dict[str, Any]) -> None:
    entity, activity = f"run:outcome-{name}", f"run:measuring-{name}"
    value = outcome["value"]
    text = f"{value['value']:g} {value['unit']}" if value else str(outcome["reason"])
    document["entity"][entity] = {"prov:label": f"{name}: {text}", "c:status": outcome["status"]}
    document["activity"][activity] = {"prov:label": f"metric {outcome['metric']}"}
    _relate(document, "wasAssociatedWith", {"prov:activity": activity, "prov:agent": "c:program"})
    for sha256 in dict.fromkeys(outcome["artifacts"].values()):
        _relate(document, "used", {"prov:activity": activity, "prov:entity": f"sha256:{sha256}"})
    _relate(document, "wasGeneratedBy", {"prov:entity": entity, "prov:activity": activity})


def _file(document: dict[str, Any], entry: dict[str, Any]) -> str:
    identifier = f"sha256:{entry['sha256']}"
    label = {"prov:label": f"{entry['role']}: {entry['path']}", "c:size_bytes": entry["size_bytes"]}
    document["entity"].setdefault(identifier, label)
    return identifier


def _relate(document: dict[str, Any], kind: str, row: dict[str, str]) -> None:
    rows: Rows = document[kind]
    rows[f"_:{kind}{len(rows) + 1}"] = row
