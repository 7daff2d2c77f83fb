"""Stage program: keep the particles of some classes; writes ``particles.star`` and the selection itself."""

from __future__ import annotations

from pathlib import Path

from cryorepro.em.central_density import central_densities
from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.formats.selection_products import SELECTED, SELECTION
from cryorepro.em.formats.square_images import read_square_images
from cryorepro.em.selection import (
    ClassRow,
    Rule,
    by_rule,
    class_rows,
    read_selection,
    select_particles,
    with_central_density,
    with_similarity,
    write_selection,
)
from cryorepro.model.class2d_stages import ClassSelectionParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program


def work(request: StageRequest) -> None:
    """Select among ``inputs.particles``, by ``inputs.selection`` if it is given, else by the parameters.

    ``inputs.model`` (or ``inputs.classes``, where that is a STAR file) tells the classes' resolutions.
    ``inputs.views`` (a stack, or a map to be projected) are the named views that the class averages in
    ``inputs.classes`` are compared with.

    Raises:
        InputError: an input is malformed, or nothing says which classes to keep.
    """
    parameters = parameters_of(request, ClassSelectionParameters)
    particles = read_particles(request.inputs["particles"], require_ctf=False)
    rows = _with_averages(request, parameters, class_rows(particles, _model(request)))
    classes, how = _chosen(request, parameters, particles, rows)
    kept = select_particles(particles, classes)
    write_particles(request.output_dir / SELECTED, kept)
    write_selection(request.output_dir / SELECTION, rows, classes, how)
    print(f"{len(kept)} of {len(particles)} particles in {len(classes)} of {len(rows)} classes, {how}", flush=True)


def _with_averages(request: StageRequest, parameters: ClassSelectionParameters, rows: list[ClassRow]) -> list[ClassRow]:
    """The classes with what their averages show: likeness to the views, where there are any, and the middle."""
    views, averages = request.inputs.get("views"), request.inputs.get("classes")
    if averages is None or averages.suffix == ".star":
        if views is not None:
            raise InputError(f"stage {request.stage}: inputs.views needs the class averages as inputs.classes.")
        return rows
    if views is not None:
        from cryorepro.em.view_similarity import similarity_to_views

        found = similarity_to_views(averages, views, parameters.views_resolution_angstrom)
        rows = with_similarity(rows, found, str(averages))
    if parameters.smallest_central_density is None:
        return rows
    return with_central_density(rows, central_densities(read_square_images(averages)[0]), str(averages))


def _model(request: StageRequest) -> Path | None:
    named = request.inputs.get("model") or request.inputs.get("classes")
    return named if named is not None and named.suffix == ".star" else None


def _chosen(
    request: StageRequest, parameters: ClassSelectionParameters, particles: Particles, rows: list[ClassRow]
) -> tuple[tuple[int, ...], str]:
    """Numbers of the classes to keep, and how they were chosen."""
    if "selection" in request.inputs:
        if parameters.classes is not None or parameters.has_rule:
            raise InputError(f"stage {request.stage}: inputs.selection is given beside a list or a rule; give one.")
        return read_selection(request.inputs["selection"]), "as selected before"
    if parameters.classes is not None:
        return tuple(parameters.classes), "by list"
    if parameters.has_rule:
        most = 1 if parameters.keep == "largest" else parameters.largest_classes
        rule = Rule(
            parameters.worst_resolution_angstrom,
            parameters.smallest_fraction,
            most,
            parameters.smallest_similarity,
            parameters.smallest_central_density,
        )
        return by_rule(rows, rule, particles.source), "by rule"
    raise InputError(
        f"stage {request.stage}: the published choice was made by hand; "
        "give parameters.classes, a rule, or an earlier selection as inputs.selection."
    )


if __name__ == "__main__":
    run_program(work)
