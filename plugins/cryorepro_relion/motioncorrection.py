"""Motion correction with ``relion_run_motioncorr --use_own``; movies that cannot be used are set aside before it."""

from __future__ import annotations

import shlex
import sys

from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_job import JobReport
from cryorepro.em.motion.files import inspect_motion_correction
from cryorepro.em.movies.checking import MovieCheck, check_movies
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.movies.table import MovieTable, read_movie_table
from cryorepro.model.motion_stage import MotionCorrectionParameters
from cryorepro.model.stage import StageCommand, StageRequest
from cryorepro_relion import inputs, program
from cryorepro_relion.command import environment, flags, number, option

FOLDER, LISTED, USABLE = "micrographs", "micrographs/corrected_micrographs.star", "usable_movies.star"
_GAIN_KINDS = (".mrc", ".tif", ".tiff", ".gain")
_VOLTAGES = (100.0, 200.0, 300.0)
_LOOKED_AT = 20
_CONVENTIONAL = 4.0
"""RELION weights each frame by exp(-B k^2) in pixels, the parameter means exp(-B s^2 / 4) in Angstrom."""


def plan(request: StageRequest) -> StageCommand:
    """The command line: RELION stops at the first movie it cannot use, so those are taken out of the list first.

    Raises:
        InputError: an input is missing or wrong, or RELION cannot do what is asked.
    """
    inputs.check_roles(request, ("movies",), ("gain", "defects"))
    p = MotionCorrectionParameters.model_validate(request.parameters)
    table = read_movie_table(request.inputs["movies"])
    sample = check_movies(
        table.paths[:_LOOKED_AT], stored_frames=p.frames, eer_fractions=p.eer_fractions, look_inside=False
    )
    links = [
        shlex.join(["ln", "-sfn", target, name])
        for name, target in inputs.folder_links(
            table, request.output_dir, "rlnMicrographMovieName", (FOLDER,), "cannot be linked beside RELION's results"
        ).items()
    ]
    selection = [sys.executable, "-m", "cryorepro_relion.usable_movies", str(table.source.absolute())]
    selection += [] if p.frames is None else ["--frames", str(p.frames)]
    correct = shlex.join([program.MOTION, *_options(request, p, table, sample), "--j", str(request.threads)])
    script = "; ".join([*links, shlex.join(selection), f"exec {correct}"])
    return StageCommand(argv=["sh", "-ec", script], environment=environment(request.threads), cwd=request.output_dir)


def inspect(request: StageRequest) -> JobReport:
    """Check lists, sums and trajectories. Raises IncompleteJob if one is missing or makes no sense."""
    return inspect_motion_correction(request.output_dir, read_movie_table(request.inputs["movies"]), LISTED)


def _options(request: StageRequest, p: MotionCorrectionParameters, table: MovieTable, sample: MovieCheck) -> list[str]:
    group = table.groups[0]
    if any(abs(other.pixel_size_angstrom - group.pixel_size_angstrom) > 1e-6 for other in table.groups):
        raise InputError(f"{table.source}: RELION's B-factor is in pixels, so one pixel size is wanted.")
    bfactor = p.bfactor_angstrom2
    pixels = None if bfactor is None else bfactor / (_CONVENTIONAL * group.pixel_size_angstrom**2)
    return [
        *("--i", USABLE, "--o", f"{FOLDER}/", "--use_own"),
        *("--patch_x", str(p.patches_x or 5), "--patch_y", str(p.patches_y or 5)),
        *("--bfactor", number(150.0 if pixels is None else round(pixels, 3))),
        *(("--bin_factor", number(p.binned)) if p.binned != 1 else ()),
        *_dose(request, p, table, sample),
        *_gain(request, p),
        *(("--defect_file", str(request.inputs["defects"].absolute())) if "defects" in request.inputs else ()),
        *_events(request, p, table),
        *("--dose_motionstats_cutoff", number(p.early_dose_e_per_square_angstrom)),
    ]


def _dose(request: StageRequest, p: MotionCorrectionParameters, table: MovieTable, sample: MovieCheck) -> list[str]:
    if not p.weights_dose:
        return []
    for group in table.groups:
        if group.voltage_kv not in _VOLTAGES:
            raise InputError(
                f"stage {request.stage}: RELION weights exposures at 100, 200 and 300 kV, not at {group.voltage_kv:g}."
            )
    each = p.dose_per_frame_e_per_square_angstrom
    if each is None:
        each = (p.total_dose_e_per_square_angstrom or 0.0) / sample.frames
    weighting = ["--dose_weighting", "--dose_per_frame", number(round(each, 6))]
    weighting += option("--preexposure", p.pre_exposure_e_per_square_angstrom or None)
    return [*weighting, *flags(save_noDW=p.unweighted_sums)]


def _gain(request: StageRequest, p: MotionCorrectionParameters) -> list[str]:
    if "gain" not in request.inputs:
        return []
    path = request.inputs["gain"]
    if path.suffix.lower() not in _GAIN_KINDS:
        raise InputError(f"{path}: RELION 3.1 reads gain references in MRC and TIFF.")
    if p.reciprocal_gain:
        raise InputError(f"stage {request.stage}: parameters.reciprocal_gain: RELION multiplies by the gain reference.")
    flip = 2 if p.flip_gain_x else 1 if p.flip_gain_y else 0
    found = ["--gainref", str(path.absolute())]
    found += ["--gain_rot", str(p.rotate_gain_quarter_turns)] if p.rotate_gain_quarter_turns else []
    return found + (["--gain_flip", str(flip)] if flip else [])


def _events(request: StageRequest, p: MotionCorrectionParameters, table: MovieTable) -> list[str]:
    """Options of EER movies; ``eer_fractions`` must divide the detector's frames as RELION groups them."""
    if p.eer_super_resolution == 4:
        raise InputError(f"stage {request.stage}: parameters.eer_super_resolution: RELION renders EER at 1 and 2.")
    if p.eer_fractions is None:
        return []
    with open_movie(table.paths[0]) as movie:
        stored = sum(movie.hardware_frames)
    if stored % p.eer_fractions:
        raise InputError(
            f"stage {request.stage}: parameters.eer_fractions: {p.eer_fractions} does not divide {stored} frames, "
            f"and RELION would leave some out."
        )
    return ["--eer_grouping", str(stored // p.eer_fractions), "--eer_upsampling", str(p.eer_super_resolution)]
