"""The cryosparc-like runner carries every step from movies to a map."""

from __future__ import annotations

from cryorepro_engines.kinds import KINDS
from cryorepro_engines.plugin import cryorepro_runners

from cryorepro.model.processing_stages import KNOWN_PARAMETERS

STEPS = (
    "motioncorrection", "ctfestimation", "curation", "picking", "pickinspection", "extraction", "class2d",
    "classselection", "initialmodel", "homogeneousrefinement", "nonuniformrefinement", "postprocess",
)  # fmt: skip


def test_every_step_of_the_pipeline_is_a_stage_with_parameters_and_a_check() -> None:
    runner = next(one for one in cryorepro_runners() if one.name == "cryosparc-like")
    for step in STEPS:
        assert step in runner.stages and step in KNOWN_PARAMETERS and step in KINDS


def test_first_maps_and_classes_need_no_parameter_to_be_given() -> None:
    for kind in ("initialmodel", "class2d", "homogeneousrefinement", "nonuniformrefinement"):
        KNOWN_PARAMETERS[kind].model_validate({})
