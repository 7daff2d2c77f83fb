"""What a selection of classes and a re-extraction leave, checked against what went in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, readable
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import read_star

SELECTED, SELECTION = "particles.star", "selection.star"
EXTRACTED, EXTRACTED_STACK = "particles.star", "particles.mrcs"


def inspect_selection(directory: Path, particles: Particles) -> JobReport:
    """Check that the selected rows are rows of ``particles`` and that they are those of the selected classes.

    Raises:
        IncompleteJob: a file is missing, malformed, or says otherwise.
    """
    kept = readable(lambda path: read_particles(path, require_ctf=False), directory / SELECTED)
    blocks = readable(read_star, directory / SELECTION)
    if "selection" not in blocks:
        raise IncompleteJob(f"{SELECTION}: the table data_selection is missing")
    table = blocks["selection"]
    classes = set(table.integers("rlnClassNumber")[table.integers("rlnSelected") == 1].tolist())
    numbers = particles.column("rlnClassNumber")
    wanted = [name for name, number in zip(particles.image_names, numbers.tolist(), strict=True) if number in classes]
    if kept.image_names != wanted:
        raise IncompleteJob(f"{SELECTED}: {len(kept)} particles, not the {len(wanted)} of the selected classes")
    return JobReport(
        outputs={"particles": Path(SELECTED), "selection": Path(SELECTION)},
        rows={"particles": len(kept)},
        numbers={"selected_classes": float(len(classes)), "selected_fraction": len(kept) / len(particles)},
    )


def inspect_reextraction(directory: Path, *, most_rows: int, box_px: int | None) -> JobReport:
    """Check a re-extraction, whose images are one stack. Raises IncompleteJob as `inspect_extracted` does."""
    report = inspect_extracted(directory, most_rows=most_rows, box_px=box_px)
    return replace(report, outputs=report.outputs | {"stack": Path(EXTRACTED_STACK)})


def inspect_extracted(directory: Path, *, most_rows: int, box_px: int | None) -> JobReport:
    """Check that the table and its stacks fit each other, hold finite pixels, and no more rows than went in.

    Raises:
        IncompleteJob: they do not.
    """
    table = readable(lambda path: read_particles(path, require_ctf=False), directory / EXTRACTED)
    try:
        stack = ParticleStack.open(table)
        for start in range(0, len(stack), 512):
            stack.read(range(start, min(start + 512, len(stack))))
    except InputError as error:
        raise IncompleteJob(str(error).removesuffix(".")) from error
    if len(table) > most_rows:
        raise IncompleteJob(f"{EXTRACTED}: {len(table)} particles, but only {most_rows} went in")
    if box_px is not None and stack.box_px != box_px:
        raise IncompleteJob(f"{EXTRACTED}: a box of {stack.box_px} pixels, not {box_px}")
    return JobReport(
        outputs={"particles": Path(EXTRACTED)},
        rows={"particles": len(table)},
        numbers={"box_px": float(stack.box_px), "pixel_size_angstrom": table.optics[0].pixel_size_angstrom},
    )
