"""Stage program: homogeneous refinement whose regularisation varies over the map, by cross-validation."""

from __future__ import annotations

from cryorepro.model.homogeneous_stages import NonUniformRefinementParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import parameters_of, run_program
from cryorepro_engines.programs.homogeneousrefinement import refine


def work(request: StageRequest) -> None:
    """Refine ``inputs.particles`` from ``inputs.reference``; see the homogeneous program.

    Raises:
        InputError: an input is malformed, inputs do not fit each other, or the device is not there.
    """
    refine(request, parameters_of(request, NonUniformRefinementParameters))


if __name__ == "__main__":
    run_program(work)
