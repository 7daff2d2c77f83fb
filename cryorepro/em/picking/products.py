"""What picking, inspection and extraction leave, checked by their files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cryorepro.em.ctf_estimation_files import SET_ASIDE, MicrographTable, link_micrographs
from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, readable
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.picking.decisions import DECISION, read_decision
from cryorepro.em.picking.tables import AUTOPICK, PickTable, read_picks

PARTICLES, DROPPED = "particles.star", "extraction_dropped.star"
DROPPED_BLOCK = "extraction"
_NOTES = 20
_CHUNK = 512


def inspect_picking(directory: Path, table: MicrographTable, names: Sequence[str]) -> JobReport:
    """Check that every micrograph asked for was picked or set aside, once, and that picks lie in it.

    Raises:
        IncompleteJob: a file is missing, malformed, or says otherwise.
    """
    picks = readable(read_picks, directory / AUTOPICK)
    left: list[str] = []
    reasons: list[str] = []
    if (directory / SET_ASIDE).exists():
        aside = readable(read_star, directory / SET_ASIDE).get("set_aside", StarBlock("set_aside", {}))
        left, reasons = (aside.columns.get(label, []) for label in ("rlnMicrographName", "cryoreproFault"))
    if sorted([*picks.names, *left]) != sorted(names):
        raise IncompleteJob(f"{AUTOPICK}: not every micrograph was picked or set aside, once")
    paths = dict(zip(table.names, table.paths, strict=True))
    _check_places(picks, paths)
    notes = [f"set aside: {name} ({why})" for name, why in zip(left, reasons, strict=True)]
    report = _report(picks, _limited(notes, "set aside"))
    if (directory / SET_ASIDE).exists():
        report.outputs["set_aside"] = Path(SET_ASIDE)
        report.numbers["micrographs_set_aside"] = float(len(left))
    return report


def _check_places(picks: PickTable, paths: dict[str, Path]) -> None:
    for name, found in zip(picks.names, picks.picks, strict=True):
        try:
            _, rows, columns = read_mrc_header(paths[name]).shape
        except InputError as error:
            raise IncompleteJob(str(error).removesuffix(".")) from error
        if ((found.at_px < -0.5) | (found.at_px > np.array([columns, rows]) - 0.5)).any():
            raise IncompleteJob(f"{AUTOPICK}: a pick lies outside {name}")


def _report(picks: PickTable, notes: list[str]) -> JobReport:
    ncc = picks.joined("ncc")
    counts = [float(len(found)) for found in picks.picks]
    known = ncc[np.isfinite(ncc)]
    return JobReport(
        outputs={"coordinates": Path(AUTOPICK)},
        rows={"coordinates": picks.total, "micrographs": len(picks.names)},
        numbers={
            "median_picks_per_micrograph": float(np.median(counts)) if counts else 0.0,
            **({"median_figure_of_merit": float(np.median(known))} if len(known) else {}),
        },
        notes=notes,
    )


def inspect_pick_inspection(directory: Path, table: PickTable) -> JobReport:
    """Check that what goes on is what the decision keeps, and that the decision is on these micrographs.

    Raises:
        IncompleteJob: a file is missing, malformed, or says otherwise.
    """
    decision = readable(read_decision, directory / DECISION)
    kept = readable(read_picks, directory / AUTOPICK)
    wanted = dict(zip(decision.table.names, decision.kept, strict=True))
    if kept.names != table.names or not set(wanted) <= set(table.names):
        raise IncompleteJob(f"{AUTOPICK}: not the micrographs of {table.source}")
    for name, found in zip(kept.names, kept.picks, strict=True):
        places = wanted[name].at_px if name in wanted else np.empty((0, 2))
        if not np.array_equal(found.at_px, places):
            raise IncompleteJob(f"{AUTOPICK}: the picks of {name} are not those that {DECISION} keeps")
    counts = decision.count()
    report = _report(kept, [f"{reason}: {number}" for reason, number in list(counts.items())[:_NOTES]])
    report.outputs["decision"] = Path(DECISION)
    report.numbers["picks_left_out"] = float(decision.table.total - kept.total)
    return report


def inspect_extraction(directory: Path, table: MicrographTable, most_rows: int, box_px: int | None) -> JobReport:
    """Check that the table and its stacks fit each other and hold finite pixels, and count what was dropped.

    Raises:
        IncompleteJob: they do not.
    """
    particles = readable(read_particles, directory / PARTICLES)
    try:
        stack = ParticleStack.open(particles, root=directory)
        for start in range(0, len(stack), _CHUNK):
            stack.read(range(start, min(start + _CHUNK, len(stack))))
        dropped = read_star(directory / DROPPED)[DROPPED_BLOCK]
        labels = [label for label in dropped.columns if label.startswith("cryoreproDropped")]
        counts = {label.removeprefix("cryoreproDropped"): int(dropped.integers(label).sum()) for label in labels}
        extracted = int(dropped.integers("cryoreproExtracted").sum())
    except (InputError, KeyError) as error:
        raise IncompleteJob(str(error).removesuffix(".")) from error
    if extracted != len(particles) or extracted + sum(counts.values()) > most_rows:
        raise IncompleteJob(f"{DROPPED}: {extracted} extracted and {sum(counts.values())} dropped of {most_rows} picks")
    if box_px is not None and stack.box_px != box_px:
        raise IncompleteJob(f"{PARTICLES}: a box of {stack.box_px} pixels, not {box_px}")
    link_micrographs(directory, table)
    numbers = {f"dropped_{_words(reason)}": float(count) for reason, count in counts.items()}
    return JobReport(
        outputs={"particles": Path(PARTICLES), "dropped": Path(DROPPED)},
        rows={"particles": len(particles)},
        numbers={"box_px": float(stack.box_px), "pixel_size_angstrom": particles.optics[0].pixel_size_angstrom}
        | numbers,
        notes=_skipped(most_rows - extracted - sum(counts.values())),
    )


def _skipped(count: int) -> list[str]:
    return [f"picks of micrographs that are not in the table or could not be read: {count}"] if count else []


def _words(reason: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in reason).lstrip("_")


def _limited(notes: list[str], what: str) -> list[str]:
    return [*notes[:_NOTES], f"{what}: {len(notes) - _NOTES} more"] if len(notes) > _NOTES else notes
