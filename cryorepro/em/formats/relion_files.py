"""Names of the files a RELION refinement leaves, iteration by iteration, and which of them are complete.

A job writes ``run_itNNN_*``; one continued from iteration N writes ``run_ctN_itNNN_*`` beside it, and each
prefix may end in unnumbered files. A prefix starts with its first optimiser file, so a file older than that
was left by an earlier attempt in the same directory and counts as missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FIRST_PREFIX = "run"
_OPTIMISER = re.compile(r"^(run(?:_ct(\d+))?)_it(\d{3})_optimiser\.star$")
FINAL_REFINE3D = {
    "map": "class001.mrc",
    "particles": "data.star",
    "model": "model.star",
    "half1": "half1_class001_unfil.mrc",
    "half2": "half2_class001_unfil.mrc",
}
"""What a converged refinement ends with, by role; each name follows the prefix and an underscore."""


class IncompleteJob(Exception):
    """A job's directory does not hold what a finished job leaves."""


@dataclass(frozen=True)
class Iteration:
    """One iteration of a job: where its files are.

    Attributes:
        directory: The job's directory.
        prefix: ``run``, or ``run_ctN`` after a continuation from iteration N.
        number: The iteration; 0 is the state before the first.
        number_of_classes: Maps per model.
        split_halves: Whether two half models stand in place of one.
        stacked: Whether the classes are images in one stack (2D) in place of maps.
    """

    directory: Path
    prefix: str
    number: int
    number_of_classes: int = 1
    split_halves: bool = False
    stacked: bool = False

    def path(self, name: str) -> Path:
        """Path of the iteration's file ``name``, such as ``data.star``."""
        return self.directory / f"{self.prefix}_it{self.number:03d}_{name}"

    @property
    def models(self) -> tuple[Path, ...]:
        """The model STAR file, or those of both halves."""
        return tuple(self.path(f"{half}model.star") for half in self._halves)

    @property
    def maps(self) -> tuple[Path, ...]:
        """The class maps, of both halves if there are two, or the one stack of class averages."""
        if self.stacked:
            return (self.path("classes.mrcs"),)
        classes = range(1, self.number_of_classes + 1)
        return tuple(self.path(f"{half}class{k:03d}.mrc") for half in self._halves for k in classes)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the iteration needs to be used or continued from."""
        tables = tuple(self.path(f"{name}.star") for name in ("optimiser", "data", "sampling"))
        return (*tables, *self.models, *self.maps)

    @property
    def continued(self) -> bool:
        """Whether a continuation wrote it."""
        return self.prefix != FIRST_PREFIX

    @property
    def _halves(self) -> tuple[str, ...]:
        return ("half1_", "half2_") if self.split_halves else ("",)


def iterations(
    directory: Path, number_of_classes: int = 1, split_halves: bool = False, stacked: bool = False
) -> Iterator[Iteration]:
    """Iterations 1 and up whose files are all there and not stale, last first.

    Presence is all that is looked at; :func:`cryorepro.em.formats.relion_job.last_iteration` also reads them.
    Of two with one number, the one of the later continuation comes first.
    """
    found: list[tuple[int, int, str]] = []
    for path in directory.glob("run*_optimiser.star"):
        match = _OPTIMISER.match(path.name)
        if match:
            found.append((int(match[3]), int(match[2] or -1), match[1]))
    for number, _, prefix in sorted(found, reverse=True):
        candidate = Iteration(directory, prefix, number, number_of_classes, split_halves, stacked)
        if number > 0 and not missing_files(directory, prefix, candidate.files, number):
            yield candidate


def missing_files(directory: Path, prefix: str, paths: tuple[Path, ...], number: int | None = None) -> list[Path]:
    """Those of ``paths`` that are absent, empty, or older than the first optimiser file of ``prefix``.

    The first optimiser file says nothing of its own iteration, ``number``, which it may have been written after.
    """
    # The lowest number is written first in every attempt, and rewritten when an attempt starts afresh.
    first = min(directory.glob(f"{prefix}_it[0-9][0-9][0-9]_optimiser.star"), default=None)
    own = first is None or (number is not None and first.name.startswith(f"{prefix}_it{number:03d}_"))
    started_ns = 0 if first is None or own else first.stat().st_mtime_ns
    return [path for path in paths if not _is_fresh(path, started_ns)]


def final_files(directory: Path, prefix: str) -> dict[str, Path]:
    """The unnumbered files a converged refinement with this prefix ends with, by role, present or not."""
    return {role: directory / f"{prefix}_{name}" for role, name in FINAL_REFINE3D.items()}


def has_leftovers(directory: Path) -> bool:
    """Whether an earlier job has written iterations into ``directory``."""
    return any(True for _ in directory.glob("run*_it[0-9][0-9][0-9]_*"))


def _is_fresh(path: Path, started_ns: int) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_size > 0 and status.st_mtime_ns >= started_ns
