"""Typed parameters of stages from movies to particles and around a refinement, one model per stage kind.

No installed runner need be able to carry them out: a plan then refuses the stage by name. A parameter that is None
is the program's own default, because the published workflow does not state it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cryorepro.model.base import Record
from cryorepro.model.class2d_stages import Class2DParameters, ClassSelectionParameters, ReextractionParameters
from cryorepro.model.curation_stage import CurationParameters
from cryorepro.model.homogeneous_stages import HomogeneousRefinementParameters, NonUniformRefinementParameters
from cryorepro.model.initial_model_stage import InitialModelParameters
from cryorepro.model.motion_stage import MotionCorrectionParameters
from cryorepro.model.picking_stages import ExtractionParameters, PickingParameters, PickInspectionParameters
from cryorepro.model.stages import STAGE_PARAMETERS, Angstrom, Class3DParameters

BoxPx = Annotated[int, Field(ge=8, le=4096)]
Share = Annotated[float, Field(ge=0, le=1)]


class CtfEstimationParameters(Record):
    """Defocus and astigmatism of every micrograph."""

    box_px: BoxPx | None = None
    lowest_resolution_angstrom: Angstrom | None = None
    highest_resolution_angstrom: Angstrom | None = None
    lowest_defocus_angstrom: float | None = Field(None, ge=0, le=200_000)
    highest_defocus_angstrom: float | None = Field(None, gt=0, le=200_000)
    astigmatism_angstrom: float | None = Field(None, ge=0, le=50_000)
    amplitude_contrast: Share | None = None
    phase_shift: bool = Field(False, description="also fitted, for a phase plate")


class Class3DLocalParameters(Class3DParameters):
    """3D classification with a search around the angles already found."""

    sigma_angle_degrees: float = Field(gt=0, le=60)


class LocalResolutionParameters(Record):
    """Local resolution of two half maps in a soft window that moves over the box."""

    sampling_angstrom: Angstrom = 25.0
    mask_radius_angstrom: Angstrom | None = Field(None, description="of the window; half the sampling if not given")
    mask_edge_angstrom: float | None = Field(None, ge=0, le=10_000, description="the sampling if not given")
    randomise_at_angstrom: Angstrom = 25.0
    worst_resolution_angstrom: Angstrom = 50.0
    bfactor_angstrom2: float = Field(0.0, ge=-5000, le=0, description="sharpening of the locally filtered map")


class CtfRefinementParameters(Record):
    """Defocus, astigmatism and beam tilt of particles against a map; phase shifts are left as they are."""

    lowest_resolution_angstrom: Angstrom | None = Field(
        None, description="coarser than this is not used; 30 if not given"
    )
    defocus: bool = Field(True, description="per particle")
    astigmatism: bool = Field(True, description="per micrograph")
    beam_tilt: bool | None = Field(None, description="per optics group; fitted if not given")
    trefoil: bool = Field(False, description="per optics group, with the beam tilt")
    defocus_range_angstrom: Angstrom = 2000.0


class PolishParameters(Record):
    """Bayesian polishing: ``train`` finds its three parameters, ``apply`` uses them."""

    mode: Literal["train", "apply"]
    particles: int | None = Field(None, ge=1, description="at least so many in training")
    evaluation_fraction: Share | None = None
    alignment_fraction: Share | None = None
    bfactor_lowest_resolution_angstrom: Angstrom | None = None


PROCESSING_PARAMETERS: dict[str, type[Record]] = {
    "motioncorrection": MotionCorrectionParameters,
    "ctfestimation": CtfEstimationParameters,
    "curation": CurationParameters,
    "picking": PickingParameters,
    "pickinspection": PickInspectionParameters,
    "extraction": ExtractionParameters,
    "class2d": Class2DParameters,
    "classselection": ClassSelectionParameters,
    "reextraction": ReextractionParameters,
    "initialmodel": InitialModelParameters,
    "class3d_local": Class3DLocalParameters,
    "homogeneousrefinement": HomogeneousRefinementParameters,
    "nonuniformrefinement": NonUniformRefinementParameters,
    "localres": LocalResolutionParameters,
    "ctfrefine": CtfRefinementParameters,
    "polish": PolishParameters,
}

KNOWN_PARAMETERS: dict[str, type[Record]] = {**STAGE_PARAMETERS, **PROCESSING_PARAMETERS}
"""The model of every stage kind the framework knows."""
