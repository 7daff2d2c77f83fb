"""For whoever repeats the run: an artifact appendix, and the manifest that CODECHECK asks for."""

from __future__ import annotations

import json

from cryorepro.bundle.citation import split_name, title
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.wording import data_words, machine_rows, planned_stages, probes, seconds, size, table
from cryorepro.compare.judge import shown


def artifact_appendix(facts: Facts) -> bytes:
    """Hardware, run-time state, expected variation, time and disk: what an artifact committee asks for."""
    lines = ["# Artifact appendix", "", f"{title(facts)}", "", "## Hardware and software", ""]
    lines += table(["", "Here"], [[name, text] for name, text in machine_rows(facts)])
    lines += ["", "## Run-time state", "", *_state(facts), "", "## Data", "", *_data(facts)]
    lines += ["", "## Time and disk", "", *_time(facts), "", "## Expected result and largest allowed variation", ""]
    lines += [*_variation(facts), "", "## To repeat", "", *_repeat(facts), ""]
    return "\n".join(lines).encode()


def _state(facts: Facts) -> list[str]:
    cpu = probes(facts).get("cpu", {})
    load = cpu.get("load_average_1_5_15_min")
    attempts = len(facts.record["attempts"])
    return [
        f"- Load average before the run (1, 5, 15 min): {', '.join(map(str, load)) if load else 'not known'}",
        f"- Threads given to each stage: {facts.settings['threads']}; device: {facts.settings['device']}",
        f"- Attempts: {attempts}" + ("; times are sums over attempts" if attempts > 1 else ""),
        "- Caches: not dropped before the run; sole use of the machine was not enforced",
    ]


def _data(facts: Facts) -> list[str]:
    data = facts.record["data"]
    if not data:
        return ["- The data were not prepared."]
    rows = [[entry["role"], size(entry["size_bytes"]), f"`{entry['sha256']}`"] for entry in data["files"]]
    return [f"{data_words(facts)}; {data['origin']}.", "", *table(["Role", "Size", "SHA-256"], rows)]


def _time(facts: Facts) -> list[str]:
    rows = []
    for name, stage in planned_stages(facts).items():
        usage = stage.get("usage", {})
        rows.append([
            name, seconds(usage.get("wall_seconds") or 0), seconds(usage.get("cpu_seconds") or 0),
            size(usage.get("peak_memory_bytes") or 0), size(usage.get("written_bytes") or 0),
        ])  # fmt: skip
    total = seconds(facts.record["elapsed_seconds"] or 0)
    head = ["Stage", "Wall", "CPU", "Peak memory", "Written"]
    return [f"Elapsed over all attempts: {total}.", "", *table(head, rows)]


def _variation(facts: Facts) -> list[str]:
    tier = facts.settings["tier"]
    rows = []
    for spec in facts.benchmark.outcomes:
        tolerances = [("claim", spec.tolerance)] if spec.tolerance else []
        tolerances += [(f"tier {name}", row.tolerance) for name, row in spec.expect.items() if name == tier]
        measured = shown(facts.record["outcomes"].get(spec.name)) or "-"
        for against, tolerance in tolerances:
            margin = f"{tolerance.margin:g} {tolerance.unit} ({tolerance.direction})"
            rows.append([spec.name, measured, against, margin, " ".join(tolerance.reason.split())])
    return table(["Outcome", "Here", "Against", "Margin", "Why this margin"], rows)


def _repeat(facts: Facts) -> list[str]:
    data = "" if facts.settings["tier"] == "twin" else " --data PATH"
    return [
        "    pip install cryorepro",
        "    cryorepro verify paper.zip              # offline, seconds",
        f"    cryorepro reproduce paper.zip{data}      # runs it here and compares",
    ]


def codecheck(facts: Facts) -> bytes:
    """``codecheck.yml`` 1.0; codechecker, report and certificate are for the person who checks."""
    lines = ["---", "version: https://codecheck.org.uk/spec/config/1.0/", "paper:"]
    lines += [f"  title: {_quoted(title(facts))}", "  authors:"]
    for author in facts.info.authors:
        given, family = split_name(author)
        lines.append(f"    - name: {_quoted(f'{given} {family}'.strip())}")
        if author.orcid:
            lines.append(f"      ORCID: {_quoted(author.orcid)}")
    lines.append("manifest:")
    for name, comment in (
        ("record.json", "outcomes and verdicts"),
        ("table1.md", "Table 1"),
        ("README.md", "summary; run 'cryorepro verify' first"),
    ):
        lines += [f"  - file: {name}", f"    comment: {_quoted(comment)}"]
    return "\n".join([*lines, ""]).encode()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
