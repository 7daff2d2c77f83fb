"""Whether a RELION-style job is finished and sound, judged by its files alone.

Exit codes are not consulted: RELION ends with 0 on several ways of not doing what it was asked. Everything
found missing or wrong is raised as :class:`IncompleteJob` in one sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.relion_files import (
    IncompleteJob,
    Iteration,
    final_files,
    has_leftovers,
    iterations,
    missing_files,
)
from cryorepro.em.formats.relion_model import (
    ModelSummary,
    OptimiserSummary,
    count_particles,
    read_model,
    read_optimiser,
)
from cryorepro.em.formats.star import read_star

__all__ = [
    "IncompleteJob", "JobReport", "inspect_class3d", "inspect_refine3d", "last_iteration", "latest_progress",
    "check_map", "readable",
]  # fmt: skip
Read = TypeVar("Read")


@dataclass(frozen=True)
class JobReport:
    """What a finished job left.

    Attributes:
        outputs: Path relative to the job's directory by role.
        iterations: The last numbered iteration (RELION does not number the last, joined one of a refinement).
        rows: Rows of tables among the outputs, by role.
        numbers: Finite figures with their units in the names.
        notes: What a reader should know.
        optimiser: The optimiser's record, for jobs that have one; the seed is there.
    """

    outputs: dict[str, Path]
    iterations: int | None = None
    rows: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    optimiser: OptimiserSummary | None = None


def last_iteration(
    directory: Path,
    *,
    rows: int,
    box_px: int,
    number_of_classes: int = 1,
    split_halves: bool = False,
    stacked: bool = False,
) -> Iteration | None:
    """The last iteration that RELION can go on from: all files there, whole and of the right size.

    None if there is no such iteration. A file that a kill cut short is found out by its last table.
    """
    for iteration in iterations(directory, number_of_classes, split_halves, stacked):
        try:
            _verify(iteration, rows, box_px)
            if stacked:
                readable(read_star, iteration.path("sampling.star"))
            else:
                _check_directions(iteration)
        except IncompleteJob:
            continue
        return iteration
    return None


def latest_progress(
    directory: Path, number_of_classes: int = 1, split_halves: bool = False, stacked: bool = False
) -> tuple[int, float | None] | None:
    """Number and resolution in Angstrom of the last iteration written; None before a job's first files.

    The resolution is None before the first iteration, and while it is infinite.
    """
    for iteration in iterations(directory, number_of_classes, split_halves, stacked):
        try:
            found = [read_model(path).current_resolution_angstrom for path in iteration.models]
        except InputError:  # still being written
            continue
        worst = max(found)
        return iteration.number, worst if math.isfinite(worst) else None
    return (0, None) if has_leftovers(directory) else None


def inspect_class3d(
    directory: Path,
    *,
    number_of_iterations: int,
    number_of_classes: int,
    rows: int,
    box_px: int,
    stacked: bool = False,
) -> JobReport:
    """Check that a classification's last requested iteration is there and sound; in 2D its classes are ``stacked``.

    Raises:
        IncompleteJob: it is not, or the job asked for or reached another number of iterations.
    """
    last = next(iterations(directory, number_of_classes, stacked=stacked), None)
    if last is None or last.number != number_of_iterations:
        reached = "no iteration" if last is None else f"iteration {last.number}"
        raise IncompleteJob(
            f"{directory.name}: {reached} is the last complete one, not iteration {number_of_iterations}"
        )
    optimiser, models = _verify(last, rows, box_px)
    if optimiser.number_of_iterations != number_of_iterations:
        raise IncompleteJob(
            f"{last.path('optimiser.star').name}: {optimiser.number_of_iterations} iterations are recorded, "
            f"{number_of_iterations} were requested"
        )
    outputs = {name: last.path(f"{file}.star") for name, file in
               (("particles", "data"), ("model", "model"), ("optimiser", "optimiser"))}  # fmt: skip
    if stacked:
        outputs["classes"] = last.maps[0]
    else:
        outputs |= {f"class{k:03d}": path for k, path in enumerate(last.maps, start=1)}
    return JobReport(
        outputs=_relative(outputs, directory),
        iterations=last.number,
        rows={"particles": rows},
        numbers=_numbers(models[0]),
        notes=_resumed(last.prefix),
        optimiser=optimiser,
    )


def inspect_refine3d(directory: Path, *, rows: int, box_px: int) -> JobReport:
    """Check that a refinement has converged: its unnumbered final files are there and sound.

    Raises:
        IncompleteJob: they are not.
    """
    prefix, optimiser = _converged_prefix(directory)
    outputs = final_files(directory, prefix)
    model = readable(read_model, outputs["model"])
    _check_rows(outputs["particles"], rows)
    for role in ("map", "half1", "half2"):
        check_map(outputs[role], box_px, model.pixel_size_angstrom)
    return JobReport(
        outputs=_relative(outputs, directory),
        iterations=optimiser.iteration,
        rows={"particles": rows},
        numbers=_numbers(model),
        notes=_resumed(prefix),
        optimiser=optimiser,
    )


def check_map(path: Path, box_px: int, pixel_size_angstrom: float | None = None) -> float:
    """Check a cubic map of finite voxels with this box and pixel size; returns the pixel size.

    Raises:
        IncompleteJob: it is missing, truncated, holds NaN, or has another box or pixel size.
    """
    volume, pixel_size = readable(read_map, path)
    if volume.shape != (box_px,) * 3:
        raise IncompleteJob(f"{path.name}: the map has {volume.shape} voxels, not a box of {box_px}")
    if pixel_size_angstrom is not None and abs(pixel_size - pixel_size_angstrom) > 1e-3 * pixel_size_angstrom:
        raise IncompleteJob(f"{path.name}: pixel size {pixel_size:g} Angstrom, not {pixel_size_angstrom:g}")
    return pixel_size


def readable(reader: Callable[[Path], Read], path: Path) -> Read:
    """``reader(path)``, with what is wrong with the file raised as :class:`IncompleteJob`."""
    try:
        return reader(path)
    except InputError as error:
        raise IncompleteJob(str(error).removesuffix(".")) from error


def _verify(iteration: Iteration, rows: int, box_px: int) -> tuple[OptimiserSummary, list[ModelSummary]]:
    optimiser = readable(read_optimiser, iteration.path("optimiser.star"))
    if optimiser.iteration != iteration.number:
        raise IncompleteJob(f"{iteration.path('optimiser.star').name}: records iteration {optimiser.iteration}")
    models = [readable(read_model, path) for path in iteration.models]
    for model, path in zip(models, iteration.models, strict=True):
        if len(model.class_fractions) != iteration.number_of_classes or model.box_px != box_px:
            raise IncompleteJob(
                f"{path.name}: {len(model.class_fractions)} classes in a box of {model.box_px}, "
                f"not {iteration.number_of_classes} in {box_px}"
            )
    _check_rows(iteration.path("data.star"), rows)
    for path in iteration.maps:
        if iteration.stacked:
            _check_averages(path, box_px, iteration.number_of_classes)
        else:
            check_map(path, box_px, models[0].pixel_size_angstrom)
    return optimiser, models


def _check_averages(path: Path, box_px: int, number_of_classes: int) -> None:
    header = readable(read_mrc_header, path)
    if header.shape != (number_of_classes, box_px, box_px):
        raise IncompleteJob(f"{path.name}: {header.shape}, not {number_of_classes} class averages in a box of {box_px}")
    averages = np.memmap(path, dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape)
    if not all(np.isfinite(average).all() for average in averages):
        raise IncompleteJob(f"{path.name}: the class averages have NaN or infinite pixels")


def _check_directions(iteration: Iteration) -> None:
    """The last table of a model has a prior for each direction, those of the last table of the sampling."""
    path = iteration.path("sampling.star")
    directions = readable(read_star, path).get("sampling_directions")
    if directions is None:
        raise IncompleteJob(f"{path.name}: the table data_sampling_directions is missing")
    for model in iteration.models:
        priors = readable(read_star, model)
        for k in range(1, iteration.number_of_classes + 1):
            prior = priors.get(f"model_pdf_orient_class_{k}")
            if prior is None or prior.row_count != directions.row_count:
                raise IncompleteJob(f"{model.name}: class {k} has no prior for each direction of {path.name}")


def _check_rows(path: Path, rows: int) -> None:
    found = readable(count_particles, path)
    if found != rows:
        raise IncompleteJob(f"{path.name}: {found} particles, but {rows} went in")


def _converged_prefix(directory: Path) -> tuple[str, OptimiserSummary]:
    absent: list[str] = []
    seen: set[str] = set()
    for optimiser in sorted(directory.glob("run*_it[0-9][0-9][0-9]_optimiser.star"), key=_by_iteration, reverse=True):
        prefix = optimiser.name.rsplit("_it", 1)[0]
        if prefix in seen:
            continue
        seen.add(prefix)
        missing = missing_files(directory, prefix, tuple(final_files(directory, prefix).values()))
        if not missing:
            return prefix, readable(read_optimiser, optimiser)
        absent = absent or [path.name for path in missing]
    if not absent:
        raise IncompleteJob(f"{directory.name}: no iteration was written")
    raise IncompleteJob(f"{directory.name}: the refinement did not converge: {', '.join(absent)} missing or stale")


def _by_iteration(path: Path) -> tuple[str, int]:
    prefix, _, rest = path.name.rpartition("_it")
    return rest, int(prefix.partition("_ct")[2] or -1)


def _numbers(model: ModelSummary) -> dict[str, float]:
    found = {
        "current_resolution_angstrom": model.current_resolution_angstrom,
        "current_image_size_px": float(model.current_image_size_px),
        "log_likelihood": model.log_likelihood,
        "average_pmax": model.average_pmax,
    }
    classes = zip(model.class_fractions, model.class_resolutions_angstrom, strict=True)
    for k, (fraction, resolution) in enumerate(classes, start=1):
        found[f"class{k:03d}_fraction"] = fraction
        found[f"class{k:03d}_resolution_angstrom"] = resolution
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _resumed(prefix: str) -> list[str]:
    if "_ct" not in prefix:
        return []
    return [f"resumed after iteration {prefix.partition('_ct')[2]}: not the same bits as an uninterrupted run"]


def _relative(outputs: dict[str, Path], directory: Path) -> dict[str, Path]:
    return {role: path.relative_to(directory) for role, path in outputs.items()}
