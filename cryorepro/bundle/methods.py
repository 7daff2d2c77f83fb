"""The methods paragraph: what was done, in sentences made from the run's own rows."""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.facts import Facts
from cryorepro.bundle.references import references
from cryorepro.bundle.wording import data_words, machine_rows, planned_stages, program_name, seconds
from cryorepro.compare.judge import shown

_TIERS = {
    "full": "the complete deposit",
    "subset": "a seeded selection of the deposited particles",
    "twin": "a simulated twin of the deposit, with known truth; it tests the software and not the published figures",
}


def methods(facts: Facts) -> bytes:
    """Markdown, with citations as ``[@key]``."""
    keys = {reference.key for reference in references(facts)}
    sentences = [*_data(facts, keys), *_stages(facts, keys), *_machine(facts), *_outcomes(facts)]
    return f"# Methods\n\n{' '.join(sentences)}\n".encode()


def _data(facts: Facts, keys: set[str]) -> list[str]:
    cite = " [@dataset; @dataset-paper]" if "dataset-paper" in keys else " [@dataset]" if "dataset" in keys else ""
    name = facts.dataset.accession if facts.dataset else facts.settings["dataset"]
    words = data_words(facts)
    used = f" ({words})" if words else ""
    tier = facts.settings["tier"]
    found = [f"The benchmark '{facts.benchmark.title}' was run on {name}{cite}, tier {tier}: {_TIERS[tier]}{used}."]
    errata = facts.record["data"]["errata"] if facts.record["data"] else []
    return found + [f"Known defect of the deposit repaired while reading: {row.get('action', '')}." for row in errata]


def _stages(facts: Facts, keys: set[str]) -> list[str]:
    cite = " [@scheres2012; @zivanov2018]" if "scheres2012" in keys else ""
    found = []
    for name, stage in planned_stages(facts).items():
        cited = cite if "RELION" in program_name(stage).upper() else ""
        iterations = f" for {stage['iterations']} iterations" if stage.get("iterations") else ""
        found.append(
            f"Stage {name} ({stage['kind']}) was carried out by {program_name(stage)}{cited}{iterations} with seed "
            f"{stage['seed']} on {stage['threads']} threads, taking {_spent(stage)}; parameters: {_parameters(stage)}."
        )
        found += [f"Departure from the published parameters: {text.rstrip('.')}." for text in stage["departures"]]
    return found


def _spent(stage: dict[str, Any]) -> str:
    usage = stage.get("usage", {})
    return f"{seconds(usage.get('wall_seconds') or 0)} (status {stage['status']})"


def _parameters(stage: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in stage["parameters"].items() if value is not None)


def _machine(facts: Facts) -> list[str]:
    rows = dict(machine_rows(facts))
    return [f"The machine had {rows['Processor']}, memory {rows['Memory']}, GPU: {rows['GPU']}."]


def _outcomes(facts: Facts) -> list[str]:
    found = []
    for name, outcome in facts.record["outcomes"].items():
        text = shown(outcome)
        found.append(f"Outcome {name}: {text}." if text else f"Outcome {name} is unverifiable: {outcome['reason']}.")
    return [*found, f"Verdict of cryorepro {facts.info.cryorepro_version} [@cryorepro; @leo2024]: {facts.verdict}."]
