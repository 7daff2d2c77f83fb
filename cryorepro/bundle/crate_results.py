"""Claims, outcomes and verdicts in the crate: three different records, never one."""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.crate_actions import stage_action_id
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.graph import Entity, Graph, reference


def add_results(graph: Graph, facts: Facts) -> list[Entity]:
    """References to all of them."""
    claims = [_claim(graph, claim.model_dump(mode="json")) for claim in facts.claims.values()]
    outcomes = [_outcome(graph, name, row) for name, row in facts.record["outcomes"].items()]
    verdicts = [_verdict(graph, number, row) for number, row in enumerate(facts.record["verdicts"], 1)]
    return [*claims, *outcomes, *verdicts]


def _claim(graph: Graph, claim: dict[str, Any]) -> Entity:
    return graph.add(
        f"#claim-{claim['id']}", ["PropertyValue", "PublishedClaim"], name=claim["id"], value=str(claim["value"]),
        unitText=claim["unit"], propertyID=f"urn:cryorepro:quantity:{claim['quantity']}", quality=claim["quality"],
        description="; ".join([
            f"{claim['source']}, {claim['locator']}", claim["software"], claim["hardware"], *claim["defects"],
        ]),
    )  # fmt: skip


def outcome_id(name: str) -> str:
    """Identifier of an outcome."""
    return f"#outcome-{name}"


def _outcome(graph: Graph, name: str, row: dict[str, Any]) -> Entity:
    value = row["value"] or {}
    return graph.add(
        outcome_id(name), ["PropertyValue", "Outcome"], name=name, unitText=value.get("unit"),
        value=str(value["value"]) if value else None, propertyID=f"urn:cryorepro:metric:{row['metric']}",
        measuredFrom=reference(stage_action_id(row["stage"])),
        description=row["reason"] or f"{row['metric']} of stage {row['stage']}",
    )  # fmt: skip


def _verdict(graph: Graph, number: int, row: dict[str, Any]) -> Entity:
    on = outcome_id(row["outcome"])
    return graph.add(
        f"#verdict-{number}", "Verdict", name=f"{row['outcome']}: {row['axis_outcome']}",
        verdictWord=row["axis_outcome"], assurance=row["axis_assurance"], description=row["reason"],
        verdictOn=reference(on) if on in graph else None, margin=row["margin"], marginReason=row["margin_reason"],
        verdictAgainst=reference(f"#claim-{row['claim']}") if row["claim"] else None,
        selfCheck=str(row["self_check"]).lower(),
    )  # fmt: skip
