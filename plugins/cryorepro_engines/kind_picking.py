"""Checks of what the picking, pickinspection and extraction programs leave."""

from __future__ import annotations

from cryorepro.em.ctf_estimation_files import read_micrograph_table
from cryorepro.em.formats.relion_job import JobReport
from cryorepro.em.picking.products import inspect_extraction, inspect_pick_inspection, inspect_picking
from cryorepro.em.picking.tables import read_picks
from cryorepro.model.picking_stages import ExtractionParameters, PickingParameters
from cryorepro.model.stage import StageRequest


def inspect_picking_stage(request: StageRequest) -> JobReport:
    """Every micrograph asked for was picked or set aside."""
    parameters = PickingParameters.model_validate(request.parameters)
    table = read_micrograph_table(request.inputs["micrographs"])
    return inspect_picking(request.output_dir, table, table.names[: parameters.micrographs])


def inspect_pickinspection_stage(request: StageRequest) -> JobReport:
    """What goes on is what the decision keeps."""
    return inspect_pick_inspection(request.output_dir, read_picks(request.inputs["coordinates"]))


def inspect_extraction_stage(request: StageRequest) -> JobReport:
    """Table and stacks fit each other, and every pick is accounted for."""
    parameters = ExtractionParameters.model_validate(request.parameters)
    table = read_micrograph_table(request.inputs["micrographs"])
    picks = read_picks(request.inputs["coordinates"])
    box_px = parameters.rescaled_box_px or parameters.box_px
    return inspect_extraction(request.output_dir, table, picks.total, box_px)
