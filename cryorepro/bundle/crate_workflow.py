"""The benchmark as the crate's workflow: steps, tools, parameters."""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.citation import SPDX
from cryorepro.bundle.crate_terms import BIOSCHEMAS_PARAMETER, BIOSCHEMAS_WORKFLOW
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.graph import Entity, Graph, reference
from cryorepro.bundle.layout import SPEC
from cryorepro.bundle.wording import planned_stages, program_name

_RELION = "https://github.com/3dem/relion"


def add_workflow(graph: Graph, facts: Facts, people: list[Entity], found: Any) -> Entity:
    """The main entity: ``spec.yaml`` with a step and a tool for every stage that came as far as a command."""
    language = graph.add(
        "#cryorepro-benchmark", "ComputerLanguage", name="cryorepro benchmark", alternateName="cryorepro YAML",
        version=str(facts.benchmark.schema_version),
    )  # fmt: skip
    stages = planned_stages(facts)
    tools = [add_tool(graph, stage) for stage in stages.values()]
    steps = [
        graph.add(
            step_id(name), "HowToStep", name=name, position=str(stage["index"]), workExample=tool,
            description=f"{stage['kind']} with {program_name(stage)}",
        )
        for (name, stage), tool in zip(stages.items(), tools, strict=True)
    ]  # fmt: skip
    graph.add(BIOSCHEMAS_WORKFLOW, "CreativeWork", name="ComputationalWorkflow", version="1.0-RELEASE")
    return graph.add(
        SPEC, ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"], name=facts.benchmark.title,
        url=f"urn:cryorepro:benchmark:{facts.benchmark.name}:{facts.benchmark.version}",
        description=facts.benchmark.summary.strip(), version=facts.benchmark.version, programmingLanguage=language,
        encodingFormat="application/yaml", contentSize=str(found.size_bytes), sha256=found.sha256, creator=people,
        license=reference(SPDX + facts.info.licence), conformsTo=reference(BIOSCHEMAS_WORKFLOW),
        hasPart=_once(tools), step=steps, input=_parameters(graph, facts), output=_outputs(graph, facts),
    )  # fmt: skip


def step_id(stage: str) -> str:
    """Identifier of a stage's step."""
    return f"#step-{stage}"


def tool_id(stage: dict[str, Any]) -> str:
    """An absolute identifier of the program behind a stage."""
    program = stage["program"]
    version = program.get("version", "unknown").replace(" ", "-")
    if program.get("name", "").upper().startswith("RELION"):
        return f"{_RELION}#{version}"
    return f"urn:cryorepro:runner:{stage['runner']}:{version}"


def add_tool(graph: Graph, stage: dict[str, Any]) -> Entity:
    """The program that a stage ran."""
    program = stage["program"]
    identifier = tool_id(stage)
    details = "; ".join(f"{name} {text}" for name, text in program.items() if name not in ("name", "version"))
    return graph.add(
        identifier, "SoftwareApplication", name=program.get("name", stage["runner"]), description=details,
        softwareVersion=program.get("version", "unknown"),
        url=_RELION if identifier.startswith(_RELION) else identifier,
    )  # fmt: skip


def parameter_id(name: str) -> str:
    """Identifier of a formal parameter of the workflow."""
    return f"#parameter-{name}"


def _parameters(graph: Graph, facts: Facts) -> list[Entity]:
    graph.add(BIOSCHEMAS_PARAMETER, "CreativeWork", name="FormalParameter", version="1.0-RELEASE")
    roles = [entry["role"] for entry in facts.record["data"]["files"]] if facts.record["data"] else []
    found = [_formal(graph, f"data-{role}", "File", f"input data: {role}") for role in roles]
    for stage, parameters in facts.settings["parameters"].items():
        for name, value in parameters.items():
            if value is not None:
                found.append(_formal(graph, f"{stage}-{name}", _kind(value), f"{name} of stage {stage}"))
    return found


def _outputs(graph: Graph, facts: Facts) -> list[Entity]:
    return [
        _formal(graph, f"{name}-{entry['role']}", "File", f"output '{entry['role']}' of stage {name}")
        for name, stage in planned_stages(facts).items()
        for entry in stage["outputs"]
    ]


def _formal(graph: Graph, name: str, kind: str, text: str) -> Entity:
    return graph.add(
        parameter_id(name), "FormalParameter", name=name, additionalType=kind, description=text,
        conformsTo=reference(BIOSCHEMAS_PARAMETER),
    )  # fmt: skip


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "Boolean"
    return {int: "Integer", float: "Float"}.get(type(value), "Text")


def _once(references: list[Entity]) -> list[Entity]:
    return list({entity["@id"]: entity for entity in references}.values())
