"""Small words that several texts of a bundle share: numbers, times, identifiers, the machine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cryorepro.bundle.facts import Facts


def seconds(value: float) -> str:
    """A duration for a person."""
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.2f} h"


def size(value: float) -> str:
    """A size for a person."""
    return f"{value / 1e6:,.1f} MB" if value < 1e9 else f"{value / 1e9:,.2f} GB"


def iso(text: str) -> str:
    """A journal's time in the one form that the RO-Crate profiles take without complaint: ``+00:00``, milliseconds."""
    moment = datetime.fromisoformat(text)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+00:00"


def probes(facts: Facts) -> dict[str, dict[str, Any]]:
    """Data of every probe that succeeded."""
    return {probe["name"]: probe["data"] for probe in facts.record["fingerprint"] if probe["status"] == "ok"}


def planned_stages(facts: Facts) -> dict[str, dict[str, Any]]:
    """Stages that came as far as a command."""
    return {name: stage for name, stage in facts.record["stages"].items() if "argv" in stage}


def program_name(stage: dict[str, Any]) -> str:
    """``RELION 3.1.3``."""
    program = stage["program"]
    return f"{program.get('name', stage['runner'])} {program.get('version', '')}".strip()


def machine_rows(facts: Facts) -> list[tuple[str, str]]:
    """The machine, as far as it was read."""
    data = probes(facts)
    cpu, memory, gpu, system = (data.get(name, {}) for name in ("cpu", "memory", "gpu", "system"))
    distribution = system.get("distribution") or {}
    gpus = [str(entry.get("name")) for entry in gpu.get("gpus") or []]
    rows = [
        ("Processor", f"{cpu.get('model') or 'not known'}, {cpu.get('usable_cores', '?')} usable cores"),
        ("Memory", size(memory["usable_bytes"]) if memory.get("usable_bytes") else "not known"),
        ("GPU", ", ".join(gpus) or "none"),
        ("Operating system", f"{distribution.get('pretty_name', 'not known')}, {system.get('kernel_release', '')}"),
        (
            "Python, PyTorch",
            f"{data.get('python', {}).get('version', '?')}, {data.get('pytorch', {}).get('torch', '?')}",
        ),
    ]
    if "relion" in data and data["relion"].get("found"):
        rows.append(("RELION", str(data["relion"].get("version"))))
    return rows


def comparability(facts: Facts) -> list[tuple[str, str]]:
    """What the run may be compared with, and the two axes beside the outcome."""
    keys, given, bench = facts.record["keys"], facts.record["verdicts"], facts.record["calibration"]
    rows = [
        ("Performance", ", ".join(dict.fromkeys(row["axis_performance"] for row in given)) or "no verdict"),
        ("Assurance", ", ".join(dict.fromkeys(row["axis_assurance"] for row in given)) or "no verdict"),
    ]
    if keys:
        rows += [
            ("Science key (sha256)", keys["science_sha256"]),
            ("Performance key (sha256)", keys["performance_sha256"]),
            ("Rules of comparison", f"version {keys['rules_version']}"),
        ]
    repeats = "not calibrated"
    if bench:
        repeats = f"to {100 * bench['spread']:.2g} % over {bench['seconds']:g} s; {100 * bench['drift']:.2g} % drift"
        repeats += f"; disturbed by {', '.join(bench['perturbed'])}" if bench.get("perturbed") else ""
    return [*rows, ("The machine repeats itself", repeats)]


def accession_url(facts: Facts) -> str:
    """Where the archive's entry is."""
    accession = facts.dataset.accession if facts.dataset else facts.settings["dataset"]
    if accession.upper().startswith("EMPIAR-"):
        return f"https://www.ebi.ac.uk/empiar/{accession.upper()}/"
    return f"https://identifiers.org/{accession}"


def data_words(facts: Facts) -> str:
    """``120 particles``; empty when the data were never prepared."""
    data = facts.record["data"]
    return ", ".join(f"{count:,} {name}" for name, count in data["rows"].items()) if data else ""


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *clean]]
