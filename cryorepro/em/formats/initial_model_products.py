"""What an initial model leaves: a classification's files at its last iteration, and one map to go on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cryorepro.em.formats.relion_job import JobReport, check_map, inspect_class3d

FINAL_MAP = "initial_model.mrc"
"""What this package's own program calls the map that a refinement starts from."""


def inspect_initial_model(
    directory: Path,
    *,
    number_of_iterations: int,
    number_of_classes: int,
    rows: int,
    box_px: int,
    final_map: str | None = None,
) -> JobReport:
    """Check the last iteration, and name the map a refinement starts from as the output ``map``.

    That is ``final_map``, or without it the map of the largest class.

    Raises:
        IncompleteJob: the last iteration or the map is missing or wrong.
    """
    report = inspect_class3d(
        directory,
        number_of_iterations=number_of_iterations,
        number_of_classes=number_of_classes,
        rows=rows,
        box_px=box_px,
    )
    chosen = report.outputs[_largest_class(report)] if final_map is None else Path(final_map)
    check_map(directory / chosen, box_px)
    return replace(report, outputs=report.outputs | {"map": chosen})


def _largest_class(report: JobReport) -> str:
    roles = sorted(role for role in report.outputs if role.startswith("class"))
    return max(roles, key=lambda role: report.numbers.get(f"{role}_fraction", 0.0))
