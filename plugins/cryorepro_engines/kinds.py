"""What the engines' programs need and leave, one entry per stage kind; each is ``programs/KIND.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryorepro.em.ctf_estimation_files import inspect_ctf_estimation, read_micrograph_table
from cryorepro.em.curation import inspect_curation
from cryorepro.em.formats.ctfrefine_products import inspect_ctfrefine
from cryorepro.em.formats.initial_model_products import FINAL_MAP, inspect_initial_model
from cryorepro.em.formats.locres_products import inspect_locres
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.relion_job import JobReport, inspect_class3d, inspect_refine3d, latest_progress
from cryorepro.em.formats.relion_products import inspect_maskcreate, inspect_postprocess
from cryorepro.em.formats.selection_products import inspect_reextraction, inspect_selection
from cryorepro.em.formats.stack_links import find_root, link_stacks
from cryorepro.model.class2d_stages import Class2DParameters, ReextractionParameters
from cryorepro.model.initial_model_stage import InitialModelParameters
from cryorepro.model.stage import Progress, StageRequest
from cryorepro.model.stages import Class3DParameters
from cryorepro_engines.kind_homogeneous import inspect_homogeneous_stage, inspect_nonuniform_stage
from cryorepro_engines.kind_motioncorrection import inspect_motioncorrection_stage, motioncorrection_progress
from cryorepro_engines.kind_picking import (
    inspect_extraction_stage,
    inspect_picking_stage,
    inspect_pickinspection_stage,
)


@dataclass(frozen=True)
class Kind:
    """One stage kind.

    Attributes:
        required: input roles the program cannot do without.
        inspect: checks the files the program left; raises IncompleteJob or InputError.
        progress: how far it is by the files that are there; None for programs without iterations.
        cpu_only: it takes seconds and runs on the CPU whatever device a run asks for; its notes say so.
    """

    required: tuple[str, ...]
    inspect: Callable[[StageRequest], JobReport]
    progress: Callable[[StageRequest], Progress | None] | None = None
    cpu_only: bool = False


def _class3d_progress(request: StageRequest) -> Progress | None:
    parameters = Class3DParameters.model_validate(request.parameters)
    found = latest_progress(request.output_dir, parameters.number_of_classes, split_halves=False)
    return found and Progress(iteration=found[0], of=parameters.iterations, resolution_angstrom=found[1])


def _refine3d_progress(request: StageRequest) -> Progress | None:
    found = latest_progress(request.output_dir, 1, split_halves=True)
    return found and Progress(iteration=found[0], of=None, resolution_angstrom=found[1])


def _inspect_class3d(request: StageRequest) -> JobReport:
    parameters = Class3DParameters.model_validate(request.parameters)
    root, rows, box_px = _particles(request)
    report = inspect_class3d(
        request.output_dir,
        number_of_iterations=parameters.iterations,
        number_of_classes=parameters.number_of_classes,
        rows=rows,
        box_px=box_px,
    )
    link_stacks(request.output_dir / report.outputs["particles"], root)
    return report


def _class2d_progress(request: StageRequest) -> Progress | None:
    parameters = Class2DParameters.model_validate(request.parameters)
    found = latest_progress(request.output_dir, parameters.classes, stacked=True)
    return found and Progress(iteration=found[0], of=parameters.last_iteration, resolution_angstrom=found[1])


def _inspect_class2d(request: StageRequest) -> JobReport:
    parameters = Class2DParameters.model_validate(request.parameters)
    root, rows, box_px = _particles(request)
    report = inspect_class3d(
        request.output_dir,
        number_of_iterations=parameters.last_iteration,
        number_of_classes=parameters.classes,
        rows=rows,
        box_px=box_px,
        stacked=True,
    )
    link_stacks(request.output_dir / report.outputs["particles"], root)
    return report


def _inspect_classselection(request: StageRequest) -> JobReport:
    particles = read_particles(request.inputs["particles"], require_ctf=False)
    report = inspect_selection(request.output_dir, particles)
    link_stacks(request.output_dir / report.outputs["particles"], find_root(particles)[0])
    return report


def _inspect_reextraction(request: StageRequest) -> JobReport:
    parameters = ReextractionParameters.model_validate(request.parameters)
    rows = len(read_particles(request.inputs["particles"], require_ctf=False))
    box_px = parameters.rescaled_box_px or parameters.box_px
    return inspect_reextraction(request.output_dir, most_rows=rows, box_px=box_px)


def _inspect_refine3d(request: StageRequest) -> JobReport:
    root, rows, box_px = _particles(request)
    report = inspect_refine3d(request.output_dir, rows=rows, box_px=box_px)
    link_stacks(request.output_dir / report.outputs["particles"], root)
    return report


def _initialmodel_progress(request: StageRequest) -> Progress | None:
    parameters = InitialModelParameters.model_validate(request.parameters)
    found = latest_progress(request.output_dir, parameters.number_of_classes or 1)
    return found and Progress(iteration=found[0], of=parameters.iterations, resolution_angstrom=found[1])


def _inspect_initialmodel(request: StageRequest) -> JobReport:
    parameters = InitialModelParameters.model_validate(request.parameters)
    root, rows, box_px = _particles(request)
    report = inspect_initial_model(
        request.output_dir,
        number_of_iterations=parameters.iterations,
        number_of_classes=parameters.number_of_classes or 1,
        rows=rows,
        box_px=box_px,
        final_map=FINAL_MAP,
    )
    link_stacks(request.output_dir / report.outputs["particles"], root)
    return report


def _inspect_maskcreate(request: StageRequest) -> JobReport:
    return inspect_maskcreate(request.output_dir, box_px=box_of(request.inputs["map"]))


def _inspect_postprocess(request: StageRequest) -> JobReport:
    box_px = box_of(request.inputs["half1"])
    return inspect_postprocess(request.output_dir, box_px=box_px, masked="mask" in request.inputs)


def _inspect_localres(request: StageRequest) -> JobReport:
    box_px = box_of(request.inputs["half1"])
    return inspect_locres(request.output_dir, box_px=box_px, mask=request.inputs.get("mask"))


def _inspect_ctfrefine(request: StageRequest) -> JobReport:
    before = read_particles(request.inputs["particles"])
    report = inspect_ctfrefine(request.output_dir, before=before)
    link_stacks(request.output_dir / report.outputs["particles"], find_root(before)[0])
    return report


def _inspect_ctfestimation(request: StageRequest) -> JobReport:
    return inspect_ctf_estimation(request.output_dir, read_micrograph_table(request.inputs["micrographs"]))


def _inspect_curation(request: StageRequest) -> JobReport:
    return inspect_curation(request.output_dir, read_micrograph_table(request.inputs["micrographs"]))


def _particles(request: StageRequest) -> tuple[Path, int, int]:
    """Root of the stacks, number of particles and box of the stage's particles."""
    particles = read_particles(request.inputs["particles"], require_ctf=False)
    root, images = find_root(particles)
    return root, len(particles), box_of(images.paths[0])


def box_of(path: Path) -> int:
    """Box size in pixels by the header of a map or stack."""
    return read_mrc_header(path).shape[2]


KINDS: dict[str, Kind] = {
    "class3d": Kind(("particles", "reference"), _inspect_class3d, _class3d_progress),
    # a refinement from given poses reconstructs its own reference
    "refine3d": Kind(("particles",), _inspect_refine3d, _refine3d_progress),
    "homogeneousrefinement": Kind(("particles", "reference"), inspect_homogeneous_stage, _refine3d_progress),
    "nonuniformrefinement": Kind(("particles", "reference"), inspect_nonuniform_stage, _refine3d_progress),
    "classselection": Kind(("particles",), _inspect_classselection, cpu_only=True),
    "reextraction": Kind(("particles",), _inspect_reextraction, cpu_only=True),
    "class2d": Kind(("particles",), _inspect_class2d, _class2d_progress),
    "initialmodel": Kind(("particles",), _inspect_initialmodel, _initialmodel_progress),
    "maskcreate": Kind(("map",), _inspect_maskcreate, cpu_only=True),
    "postprocess": Kind(("half1", "half2"), _inspect_postprocess, cpu_only=True),
    "localres": Kind(("half1", "half2"), _inspect_localres, cpu_only=True),
    "motioncorrection": Kind(("movies",), inspect_motioncorrection_stage, motioncorrection_progress),
    "ctfestimation": Kind(("micrographs",), _inspect_ctfestimation),
    "curation": Kind(("micrographs",), _inspect_curation, cpu_only=True),
    "picking": Kind(("micrographs",), inspect_picking_stage),
    "pickinspection": Kind(("coordinates",), inspect_pickinspection_stage, cpu_only=True),
    "extraction": Kind(("micrographs", "coordinates"), inspect_extraction_stage, cpu_only=True),
    # which maps it needs depends on which are given
    "ctfrefine": Kind(("particles",), _inspect_ctfrefine, cpu_only=True),
}
