"""Table 1 of a paper: collection, processing, validation, from the run's own record."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from cryorepro.bundle.curves import curves_of
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.stage_use import stage_use
from cryorepro.bundle.wording import comparability, planned_stages, program_name, seconds, size, table
from cryorepro.compare.judge import shown

Row = tuple[str, str, str]
_NOT_STATED = "not stated"


def table1_rows(facts: Facts) -> list[Row]:
    """Section, item and value; what the record does not hold reads ``not stated``."""
    return [*_collection(facts), *_processing(facts), *_validation(facts)]


def _collection(facts: Facts) -> list[Row]:
    info, data = facts.dataset, facts.record["data"]
    rows = [("Dataset", f"{info.accession}: {info.title}" if info else facts.settings["dataset"])]
    if info:
        defocus = " to ".join(f"{value:g}" for value in info.defocus_um or [])
        rows += [
            ("Sample", info.sample),
            ("Microscope", info.microscope or _NOT_STATED),
            ("Detector", info.detector or _NOT_STATED),
            ("Voltage (kV)", _number(info.voltage_kv)),
            ("Spherical aberration (mm)", _number(info.spherical_aberration_mm)),
            ("Amplitude contrast", _number(info.amplitude_contrast)),
            ("Electron exposure (e-/A2)", _number(info.total_dose_e_per_square_angstrom)),
            ("Defocus range (um)", defocus or _NOT_STATED),
            ("Pixel size of the deposit (A)", _number(info.pixel_size_angstrom)),
            ("Movies", _number(info.movies)),
            ("Micrographs", _number(info.micrographs)),
            ("Reference entries", ", ".join([*info.emdb, *info.pdb]) or _NOT_STATED),
        ]
    rows.append(("Tier", facts.settings["tier"]))
    rows.append(("Origin of the pixels", data["origin"] if data else "the data were not prepared"))
    return [("Data", *row) for row in rows]


def _processing(facts: Facts) -> list[Row]:
    data = facts.record["data"]
    rows: list[Row] = []
    if data:
        parameters = data["parameters"]
        rows += [("Processing", f"Number of {name}", f"{count:,}") for name, count in data["rows"].items()]
        for label, key in (("Box (px)", "box_px"), ("Pixel size (A)", "pixel_size_angstrom")):
            value = parameters.get(key) or _from_outcomes(facts, key)
            rows.append(("Processing", label, _number(value)))
    for name, stage in planned_stages(facts).items():
        usage = stage.get("usage", {})
        done = f"{stage['status']}, {stage['iterations']} iterations" if stage.get("iterations") else stage["status"]
        rows += [
            ("Processing", f"{name}: software", f"{program_name(stage)} (runner {stage['runner']})"),
            ("Processing", f"{name}: symmetry", str(stage["parameters"].get("symmetry", _NOT_STATED))),
            ("Processing", f"{name}: ended", done),
            ("Processing", f"{name}: wall time", seconds(usage.get("wall_seconds") or 0)),
            *(("Processing", f"{name}: {label}", text) for label, text in _use(stage)),
        ]
    return rows


def _use(stage: dict[str, Any]) -> list[tuple[str, str]]:
    """Memory and energy; what no counter of the machine could tell reads ``not measured``."""
    use = stage_use(stage)
    rows: list[tuple[str, str, Callable[[float], str]]] = [
        ("peak memory", "peak_memory_bytes", size), ("peak GPU memory", "peak_gpu_memory_bytes", size),
        ("energy of the processors", "energy_joules", _joules), ("energy of the GPUs", "gpu_energy_joules", _joules),
    ]  # fmt: skip
    return [(label, "not measured" if use.get(key) is None else shape(use[key])) for label, key, shape in rows]


def _joules(value: float) -> str:
    return f"{value / 1000:,.3g} kJ"


def _validation(facts: Facts) -> list[Row]:
    rows = []
    for spec in facts.benchmark.outcomes:
        outcome = facts.record["outcomes"].get(spec.name)
        text = shown(outcome) or (f"unverifiable: {outcome['reason']}" if outcome else "not measured")
        rows.append(("Validation", spec.name, text))
    rows += [
        ("Validation", f"FSC threshold of {curve.name}", f"{curve.threshold:g} ({curve.meaning})")
        for curve in curves_of(facts.record["outcomes"])
    ]
    return [*rows, ("Validation", "Verdict", facts.verdict), *(("Validation", *row) for row in comparability(facts))]


def _from_outcomes(facts: Facts, key: str) -> Any:
    values = [outcome["value"] for outcome in facts.record["outcomes"].values() if outcome["value"]]
    return next((value[key] for value in values if value[key]), None)


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else _NOT_STATED


def table1_markdown(facts: Facts) -> bytes:
    """For people."""
    rows = [[section, item, value] for section, item, value in table1_rows(facts)]
    head = f"# Table 1. {facts.benchmark.title}, tier {facts.settings['tier']}"
    return "\n".join([head, "", *table(["", "Item", "Value"], rows), ""]).encode()


def table1_csv(facts: Facts) -> bytes:
    """For programs."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([("section", "item", "value"), *table1_rows(facts)])
    return stream.getvalue().encode()
