"""The first thing a person sees: what this is, what came out, how to check it, what is where."""

from __future__ import annotations

from typing import Any

from cryorepro.bundle.citation import title
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.wording import (
    comparability,
    data_words,
    machine_rows,
    planned_stages,
    program_name,
    seconds,
    table,
)
from cryorepro.compare.judge import shown
from cryorepro.compare.verdict.words import axis_word

_WHAT: dict[str, str] = {
    "record.json": "everything the journal says, as `cryorepro show RUN --json` prints it",
    "table1.md, table1.csv": "Table 1 of a paper",
    "methods.md, references.bib": "methods paragraph and its references",
    "figures/": "figures as SVG and PNG",
    "curves/": "FSC curves as CSV, and as EMDB's fsc.xml",
    "spec.yaml, claims.json, dataset.json": "the benchmark, the published claims with their sources, the dataset",
    "journal/": "the run's journal (redacted), its seal, and the hashes of the original journal",
    "usage/": "memory and processor time over time, per attempt at a stage",
    "artifacts/": "outputs of the run that were chosen for export",
    "deposition/": "drafts for EMPIAR (JSON) and OneDep (mmCIF)",
    "ARTIFACT_APPENDIX.md, codecheck.yml": "for whoever repeats the run",
    "ro-crate-metadata.json": "all of it for programs (RO-Crate, Provenance Run Crate 0.5)",
    "SHA256SUMS": "`sha256sum -c SHA256SUMS` checks the members without cryorepro",
}


def readme(facts: Facts) -> bytes:
    """Markdown."""
    lines = [f"# {title(facts)}", "", *_summary(facts), "", "## Outcomes", "", *_outcomes(facts)]
    lines += ["", "## Published claims", "", *_claims(facts), "", "## What was run", "", *_stages(facts)]
    lines += ["", "## Machine", "", *table(["", ""], [list(row) for row in machine_rows(facts)])]
    lines += ["", "## Comparability", "", *table(["", ""], [list(row) for row in comparability(facts)])]
    lines += ["", "## To check and to repeat", "", *_commands(facts), "", "## What is where", ""]
    lines += [*table(["File", "What"], [[f"`{name}`", text] for name, text in _WHAT.items()]), ""]
    lines += [*_left_out(facts), *_privacy(facts), ""]
    return "\n".join(lines).encode()


def _summary(facts: Facts) -> list[str]:
    settings = facts.settings
    name = facts.dataset.accession if facts.dataset else settings["dataset"]
    words = data_words(facts)
    authors = ", ".join(author.name for author in facts.info.authors)
    found = [
        f"**Verdict: {facts.verdict}.** {facts.benchmark.summary.strip()}",
        "",
        f"{name}, tier {settings['tier']}{f' ({words})' if words else ''}; seed {settings['seed']}; status "
        f"{facts.record['status']}; {seconds(facts.record['elapsed_seconds'] or 0)} elapsed; by {authors}; "
        f"licence {facts.info.licence}.",
    ]
    if settings["tier"] != "full":
        found += [
            "",
            f"A {settings['tier']} proves the software, not the published figures: these read `not-attempted`.",
        ]
    if facts.record["reason"]:
        found += ["", f"The run ended early: {facts.record['reason'].rstrip('.')}."]
    return found


def _outcomes(facts: Facts) -> list[str]:
    checks = {verdict["outcome"]: verdict for verdict in facts.record["verdicts"] if verdict["self_check"]}
    rows = []
    for spec in facts.benchmark.outcomes:
        if facts.settings["tier"] not in spec.tiers:
            continue
        outcome = facts.record["outcomes"].get(spec.name)
        verdict: dict[str, Any] = checks.get(spec.name, {})
        here = shown(outcome) or ("not measured" if outcome is None else f"unverifiable: {outcome['reason']}")
        words = [verdict.get("expected") or "-", verdict.get("margin") or "-", verdict.get("axis_outcome") or "-"]
        rows.append([spec.name, here, *words])
    return table(["Outcome", "Here", "Expected of this tier", "Margin", "Verdict"], rows)


def _claims(facts: Facts) -> list[str]:
    given = [verdict for verdict in facts.record["verdicts"] if not verdict["self_check"]]
    if not given:
        return ["This benchmark answers to no published claim."]
    rows = [
        [*(verdict[key] or "-" for key in ("claim", "expected", "measured")), axis_word(verdict), verdict["reason"]]
        for verdict in given
    ]
    return table(["Claim", "Published", "Here", "Verdict", "Why"], rows)


def _stages(facts: Facts) -> list[str]:
    found = []
    for name, stage in planned_stages(facts).items():
        found += [f"**{name}** ({stage['kind']}) with {program_name(stage)}, {stage['status']}:", ""]
        found += ["    " + " ".join(stage["argv"]), ""]
        found += [f"- departs from the published parameters: {text}" for text in stage["departures"]]
        found += [f"- {note}" for note in stage.get("notes", [])]
    missing = [spec.name for spec in facts.benchmark.stages if spec.name not in planned_stages(facts)]
    return found + ([f"Not reached: {', '.join(missing)}."] if missing else [])


def _commands(facts: Facts) -> list[str]:
    data = "" if facts.settings["tier"] == "twin" else " --data PATH"
    return [
        f"    pip install cryorepro=={facts.info.cryorepro_version}",
        "    cryorepro verify paper.zip              # offline: structure, hashes, journal, numbers, verdicts",
        f"    cryorepro reproduce paper.zip{data}      # runs it here and compares with this run",
        "    cryorepro import paper.zip              # keeps it, apart from your own runs",
    ]


def _left_out(facts: Facts) -> list[str]:
    return [f"Left out: {text}." for text in facts.info.left_out]


def _privacy(facts: Facts) -> list[str]:
    total = len(facts.events)
    return [
        f"User names, hosts and absolute paths were taken out; of the {total} events of the journal "
        f"{facts.redacted_events} were redacted for that. The others still have their original hash; the original's "
        "last hash is in `journal/original.json`."
    ]  # fmt: skip
