"""Stage program: frames of every movie of a list aligned and summed, unusable movies set aside by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryorepro.em.errors import InputError
from cryorepro.model.motion_stage import MotionCorrectionParameters
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import THREAD_VARIABLES, parameters_of, run_program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cryorepro.em.motion.correct import MotionSettings
    from cryorepro.em.motion.job import Exposure
    from cryorepro.em.movies.gain import Flip
    from cryorepro.em.movies.table import MovieGroup

_TOLERANCE = 1e-3


def work(request: StageRequest) -> None:
    """Correct every movie of ``inputs.movies``, with ``inputs.gain`` and ``inputs.defects`` where they are given.

    On the request's device: on the CPU by one process per thread, on a GPU by this one, for which the others decode.

    Raises:
        InputError: the list, the gain, the defects or a parameter is malformed, the device is not there, or no movie
            is usable.
    """
    parameters = parameters_of(request, MotionCorrectionParameters)
    # every worker is a process of one thread: the libraries must not start threads of their own
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    from cryorepro.em.devices.choice import chosen_device
    from cryorepro.em.motion.job import MotionJob, correct_movies
    from cryorepro.em.movies.table import read_movie_table

    device = chosen_device(request.device, f"stage {request.stage}")
    table = read_movie_table(request.inputs["movies"])
    gain = request.inputs.get("gain")
    job = MotionJob(
        table=table,
        settings=[_settings(request, group, parameters) for group in table.groups],
        exposure=_exposure(parameters) if parameters.weights_dose else None,
        gain=None if gain is None else _gain(gain, parameters),
        gain_name=None if gain is None else os.path.relpath(gain, request.output_dir),
        defects=request.inputs.get("defects"),
        early_e_per_angstrom2=parameters.early_dose_e_per_square_angstrom,
        eer_fractions=parameters.eer_fractions,
        eer_super_resolution=parameters.eer_super_resolution,
        stored_frames=parameters.frames,
    )
    correct_movies(job, request.output_dir, request.threads, device)


def _gain(path: Path, p: MotionCorrectionParameters) -> NDArray[np.float32]:
    from cryorepro.em.motion.job import read_oriented_gain

    flip: Flip = "x" if p.flip_gain_x else "y" if p.flip_gain_y else "none"
    return read_oriented_gain(path, flip, p.rotate_gain_quarter_turns, reciprocal=p.reciprocal_gain)


def _settings(request: StageRequest, group: MovieGroup, p: MotionCorrectionParameters) -> MotionSettings:
    from cryorepro.em.motion.correct import MotionSettings

    for name in ("pixel_size_angstrom", "voltage_kv", "spherical_aberration_mm"):
        given, listed = getattr(p, name), getattr(group, name)
        if given is not None and abs(given - listed) > _TOLERANCE * listed:
            raise InputError(f"stage {request.stage}: {name} is {given:g}, but the list of movies says {listed:g}.")
    return MotionSettings(
        group.pixel_size_angstrom / p.eer_super_resolution,
        group.voltage_kv,
        patches=(p.patches_x or 5, p.patches_y or 5),
        bfactor_angstrom2=p.bfactor_angstrom2,
        largest_shift_angstrom=p.largest_shift_angstrom,
        binned=p.binned,
        unweighted=p.unweighted_sums or not p.weights_dose,
    )


def _exposure(p: MotionCorrectionParameters) -> Exposure:
    from cryorepro.em.motion.job import Exposure

    return Exposure(
        p.total_dose_e_per_square_angstrom,
        p.dose_per_frame_e_per_square_angstrom,
        p.pre_exposure_e_per_square_angstrom,
    )


if __name__ == "__main__":
    run_program(work)
