"""Selection of particles by class: from a list, by a rule on what the classes are, or a selection made earlier.

A selection is written as a STAR file with one row per class. Given again as an input it selects the same classes: a
choice made by eye in one run is replayed exactly in the next. RELION's own ``backup_selection.star`` (one rlnSelected
per class, in class order) is read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.star import StarBlock, Value, make_block, read_star, write_star
from cryorepro.em.view_scores import Similarity

_NEEDS_MODEL = "a limit on resolution needs the classes' model.star (inputs.model)"
_NEEDS_VIEWS = "a limit on similarity needs class averages and views (inputs.views)"
_NEEDS_AVERAGES = "a limit on central density needs class averages (inputs.classes)"


@dataclass(frozen=True)
class ClassRow:
    """One class: its number from 1, its particles, their share, and what is known of it otherwise.

    ``resolution_angstrom`` is None where no model says, ``similarity`` to the nearest of the named views, and that
    view's number, where there are no views, ``central_density`` where no average was looked at.
    """

    number: int
    particles: int
    fraction: float
    resolution_angstrom: float | None = None
    similarity: float | None = None
    view: int | None = None
    central_density: float | None = None


@dataclass(frozen=True)
class Rule:
    """Limits that a class must keep; None leaves one out. Empty classes never pass.

    ``largest_classes`` keeps at most so many of those that pass, by particles, the lower number first among equals.
    """

    worst_resolution_angstrom: float | None = None
    smallest_fraction: float | None = None
    largest_classes: int | None = None
    smallest_similarity: float | None = None
    smallest_central_density: float | None = None


def class_rows(particles: Particles, model: Path | None = None) -> list[ClassRow]:
    """All classes of a classified table, with resolutions from ``model.star`` if it is given.

    Raises:
        InputError: the table has no classes, or the model has fewer classes than the table.
    """
    numbers = particles.column("rlnClassNumber")
    if numbers.min() < 1:
        raise InputError(f"{particles.source}: rlnClassNumber is {numbers.min()}, which is no class.")
    resolutions = None if model is None else _resolutions(model)
    count = int(numbers.max()) if resolutions is None else len(resolutions)
    if numbers.max() > count:
        raise InputError(f"{model}: {count} classes, but {particles.source} has particles in class {numbers.max()}.")
    members = np.bincount(numbers, minlength=count + 1)[1:]
    return [
        ClassRow(k + 1, int(members[k]), float(members[k] / len(numbers)), resolutions[k] if resolutions else None)
        for k in range(count)
    ]


def with_similarity(rows: Sequence[ClassRow], found: Similarity, source: str) -> list[ClassRow]:
    """The classes with their similarity to the nearest of the named views.

    Raises:
        InputError: there are more classes than averages.
    """
    if len(rows) > len(found.values):
        raise InputError(f"{source}: {len(found.values)} class averages, but {len(rows)} classes.")
    return [
        replace(row, similarity=float(found.values[row.number - 1]), view=int(found.views[row.number - 1]))
        for row in rows
    ]


def with_central_density(rows: Sequence[ClassRow], found: NDArray[np.float64], source: str) -> list[ClassRow]:
    """The classes with what their averages show in the middle, ``found [k]``.

    Raises:
        InputError: there are more classes than averages.
    """
    if len(rows) > len(found):
        raise InputError(f"{source}: {len(found)} class averages, but {len(rows)} classes.")
    return [replace(row, central_density=float(found[row.number - 1])) for row in rows]


def by_rule(rows: Sequence[ClassRow], rule: Rule, source: str) -> tuple[int, ...]:
    """Numbers of the classes that keep every limit.

    Raises:
        InputError: resolution, similarity or central density is asked for and not known, or no class is left.
    """
    passed = [row for row in rows if row.particles > 0]
    if rule.worst_resolution_angstrom is not None:
        limit = rule.worst_resolution_angstrom
        known = _known(passed, lambda row: row.resolution_angstrom, source, _NEEDS_MODEL)
        passed = [row for row, value in known if value <= limit]
    if rule.smallest_fraction is not None:
        passed = [row for row in passed if row.fraction >= rule.smallest_fraction]
    if rule.smallest_similarity is not None:
        least = rule.smallest_similarity
        known = _known(passed, lambda row: row.similarity, source, _NEEDS_VIEWS)
        passed = [row for row, value in known if value >= least]
    if rule.smallest_central_density is not None:
        least = rule.smallest_central_density
        known = _known(passed, lambda row: row.central_density, source, _NEEDS_AVERAGES)
        passed = [row for row, value in known if value >= least]
    passed = sorted(passed, key=lambda row: (-row.particles, row.number))[: rule.largest_classes]
    if not passed:
        raise InputError(f"{source}: no class keeps the rule's limits.")
    return tuple(sorted(row.number for row in passed))


def _known(
    rows: Sequence[ClassRow], part: Callable[[ClassRow], float | None], source: str, needs: str
) -> list[tuple[ClassRow, float]]:
    """Every class with one figure of it.

    Raises:
        InputError: a class lacks it.
    """
    found = [(row, value) for row in rows if (value := part(row)) is not None]
    if len(found) < len(rows):
        raise InputError(f"{source}: {needs}.")
    return found


def select_particles(particles: Particles, classes: Sequence[int]) -> Particles:
    """The particles of these classes, in the table's order.

    Raises:
        InputError: a class has no particles in the table, or is named twice.
    """
    numbers = particles.column("rlnClassNumber")
    absent = sorted(set(classes) - set(np.unique(numbers).tolist()))
    if absent:
        raise InputError(f"{particles.source}: class {absent[0]} is selected but has no particles.")
    if len(set(classes)) != len(classes):
        raise InputError(f"{particles.source}: a class is selected twice.")
    return particles.subset(np.flatnonzero(np.isin(numbers, list(classes))))


def write_selection(path: Path, rows: Sequence[ClassRow], classes: Sequence[int], how: str) -> None:
    """Write which classes were selected, and how the choice was made (one line)."""
    columns: dict[str, Sequence[Value]] = {
        "rlnClassNumber": [row.number for row in rows],
        "rlnSelected": [int(row.number in classes) for row in rows],
        "rlnClassDistribution": [row.fraction for row in rows],
    }
    if all(row.resolution_angstrom is not None for row in rows):
        columns["rlnEstimatedResolution"] = [float(row.resolution_angstrom or 0.0) for row in rows]
    if all(row.similarity is not None for row in rows):
        columns["cryoreproViewSimilarity"] = [float(row.similarity or 0.0) for row in rows]
        columns["cryoreproNearestView"] = [int(row.view or 0) for row in rows]
    if all(row.central_density is not None for row in rows):
        columns["cryoreproCentralDensity"] = [float(row.central_density or 0.0) for row in rows]
    general: dict[str, Sequence[Value]] = {"cryoreproSelectedBy": [how.replace(" ", "_")]}
    write_star(path, [make_block("selection_general", general, is_loop=False), make_block("selection", columns)])


def read_selection(path: Path) -> tuple[int, ...]:
    """Numbers of the selected classes.

    Raises:
        InputError: the file is missing or malformed, or selects nothing.
    """
    for block in read_star(path).values():
        if "rlnSelected" in block.columns:
            return _selected(block)
    raise InputError(f"{path}: column rlnSelected is missing; this is not a selection of classes.")


def _selected(block: StarBlock) -> tuple[int, ...]:
    marks = block.integers("rlnSelected")
    if not np.isin(marks, (0, 1)).all():
        raise InputError(f"{block.source}: rlnSelected must be 0 or 1.")
    listed = "rlnClassNumber" in block.columns
    numbers = block.integers("rlnClassNumber") if listed else np.arange(1, len(marks) + 1)
    if not marks.any():
        raise InputError(f"{block.source}: no class is selected.")
    return tuple(int(number) for number in numbers[marks == 1])


def _resolutions(model: Path) -> list[float]:
    blocks = read_star(model)
    if "model_classes" not in blocks:
        raise InputError(f"{model}: the table data_model_classes is missing; this is not a model.")
    values = blocks["model_classes"].numbers("rlnEstimatedResolution")
    if np.isnan(values).any() or (values < 0).any():
        raise InputError(f"{model}: rlnEstimatedResolution holds a value that is no length.")
    return [float(value) for value in values]
