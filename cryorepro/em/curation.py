"""Curation of micrographs: those that keep every declared limit go on, and the decision is written as a file.

Given again as an input, the decision keeps the same micrographs, whatever the limits say: a choice made by eye in one
run is replayed exactly in the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.ctf_estimation_files import MicrographTable, link_micrographs, read_micrograph_table
from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, readable
from cryorepro.em.formats.star import StarBlock, Value, make_block, read_star, write_star

SELECTED, DECISION = "micrographs_selected.star", "decision.star"
KEPT = "kept"
_NOTES = 20


@dataclass(frozen=True)
class Limit:
    """``lowest <= values <= highest`` in ``unit``, over columns that are averaged; None leaves a side open."""

    name: str
    labels: tuple[str, ...]
    unit: str
    lowest: float | None = None
    highest: float | None = None

    def faults(self, table: MicrographTable) -> list[str]:
        """One sentence a micrograph, empty where the limit is kept.

        Raises:
            InputError: a column is missing; a value that is no number breaks every limit instead.
        """
        values = np.mean([self._column(table, label) for label in self.labels], axis=0)
        return [self._fault(float(value)) for value in values]

    def _column(self, table: MicrographTable, label: str) -> NDArray[np.float64]:
        if label not in table.rows.columns:
            raise InputError(f"{table.source}: {label} is missing, which the limit on {self.name} needs.")
        return table.rows.numbers(label)

    def _fault(self, value: float) -> str:
        if not np.isfinite(value):
            return f"{self.name} is not a number"
        if self.lowest is not None and value < self.lowest:
            return f"{self.name} {value:.4g}{self.unit} below {self.lowest:.4g}"
        if self.highest is not None and value > self.highest:
            return f"{self.name} {value:.4g}{self.unit} above {self.highest:.4g}"
        return ""


def by_limits(table: MicrographTable, limits: Sequence[Limit]) -> list[str]:
    """What is wrong with every micrograph of the table, empty where nothing is; all broken limits are named.

    Raises:
        InputError: a limit's column is missing.
    """
    found = [limit.faults(table) for limit in limits]
    return ["; ".join(fault for fault in faults if fault) for faults in zip(*found, strict=True)]


def write_curation(directory: Path, table: MicrographTable, reasons: Sequence[str]) -> None:
    """Write the kept rows with all their columns, and the decision on every micrograph.

    Raises:
        InputError: nothing is kept.
    """
    kept = [row for row, reason in enumerate(reasons) if not reason]
    if not kept:
        raise InputError(f"{table.source}: no micrograph keeps the limits; the first: {reasons[0]}.")
    columns = {label: [values[row] for row in kept] for label, values in table.rows.columns.items()}
    optics = StarBlock("optics", table.optics.columns)
    write_star(directory / SELECTED, [optics, make_block("micrographs", columns)])
    decided: dict[str, Sequence[Value]] = {
        "rlnMicrographName": table.names,
        "rlnSelected": [int(not reason) for reason in reasons],
        "cryoreproReason": [reason or KEPT for reason in reasons],
    }
    write_star(directory / DECISION, [make_block("curation", decided)])


def read_decision(path: Path, table: MicrographTable) -> list[str]:
    """What an earlier decision says of every micrograph of ``table``: empty for those it kept.

    Raises:
        InputError: the file is no decision, or it is not about exactly these micrographs.
    """
    blocks = read_star(path)
    if "curation" not in blocks:
        raise InputError(f"{path}: the table data_curation is missing; this is not a decision on micrographs.")
    block = blocks["curation"]
    names, marks = block.text("rlnMicrographName"), block.integers("rlnSelected")
    reasons = (
        block.text("cryoreproReason") if "cryoreproReason" in block.columns else ["as decided before"] * len(names)
    )
    if not np.isin(marks, (0, 1)).all():
        raise InputError(f"{path}: rlnSelected must be 0 or 1.")
    if sorted(names) != sorted(table.names):
        odd = sorted(set(names) ^ set(table.names))
        raise InputError(f"{path}: rlnMicrographName is not the list of {table.source}; {(odd or names)[0]} differs.")
    said = {name: "" if mark else reason for name, mark, reason in zip(names, marks.tolist(), reasons, strict=True)}
    return [said[name] for name in table.names]


def inspect_curation(directory: Path, table: MicrographTable) -> JobReport:
    """Check that the decision is about every micrograph and that those it keeps are the ones written.

    Raises:
        IncompleteJob: a file is missing, malformed, or says otherwise.
    """
    reasons = readable(lambda path: read_decision(path, table), directory / DECISION)
    link_micrographs(directory, table)
    kept = readable(read_micrograph_table, directory / SELECTED)
    if kept.names != [name for name, reason in zip(table.names, reasons, strict=True) if not reason]:
        raise IncompleteJob(f"{SELECTED}: not the micrographs that {DECISION} keeps")
    left = [f"left out: {name} ({why})" for name, why in zip(table.names, reasons, strict=True) if why]
    notes = [*left[:_NOTES], f"left out: {len(left) - _NOTES} more"] if len(left) > _NOTES else left
    return JobReport(
        outputs={"micrographs": Path(SELECTED), "decision": Path(DECISION)},
        rows={"micrographs": len(kept.names)},
        numbers={"micrographs_left_out": float(len(left))},
        notes=notes,
    )
