"""What a homogeneous or non-uniform refinement leaves: a converged refinement's files, its mask and its FSC."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, check_map, inspect_refine3d, readable
from cryorepro.em.formats.star import read_star

MASK, FSC, FILTER = "run_mask.mrc", "run_fsc.star", "run_local_lowpass.mrc"
LOCAL_MAP = "run_local_map.mrc"


def inspect_homogeneous(directory: Path, *, rows: int, box_px: int, local: bool) -> JobReport:
    """Check a refinement's files; ``local`` says that it has a map of local low-passes.

    Raises:
        IncompleteJob: a file is missing or malformed.
    """
    report = inspect_refine3d(directory, rows=rows, box_px=box_px)
    blocks = readable(read_star, directory / FSC)
    if "fsc" not in blocks or blocks["fsc"].row_count != box_px // 2 + 1:
        raise IncompleteJob(f"{FSC}: the curve of a box of {box_px} pixels is missing")
    maps = {"mask": MASK} | ({"local_lowpass": FILTER, "local_map": LOCAL_MAP} if local else {})
    for name in maps.values():
        check_map(directory / name, box_px)
    outputs = report.outputs | {role: Path(name) for role, name in maps.items()} | {"fsc": Path(FSC)}
    return replace(report, outputs=outputs)
