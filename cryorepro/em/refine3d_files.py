"""A refinement's iterations on disk: RELION's files, and a sidecar with what they cannot carry exactly.

The optimiser file is written last: an iteration is complete when it is there.  That of iteration 0 is written
before anything else, so that what an earlier attempt left is older than it.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.estep_sums import poses_from_arrays, poses_to_arrays
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.formats.relion_write import (
    ClassTables,
    ModelTables,
    NoiseGroup,
    model_blocks,
    optimiser_block,
    sampling_blocks,
)
from cryorepro.em.formats.star import write_star
from cryorepro.em.fsc import shell_to_angstrom
from cryorepro.em.healpix import pixel_angles_deg
from cryorepro.em.local_search import STEPS_PER_SIGMA
from cryorepro.em.posed_particles import with_found_poses
from cryorepro.em.refine3d import Final, Refinement
from cryorepro.em.refine_schedule import Accuracy, Changes, Schedule
from cryorepro.em.refine_state import HalfState
from cryorepro.em.sampling import asymmetric_unit
from cryorepro.em.symmetry import symmetry_matrices

_OWN_FILES = re.compile(r"^run_(it\d{3}_|class001|data|model|half[12]_class001)")
_HALF_TENSORS = ("sigma2", "scale", "direction_prior", "tau2", "ssnr", "coverage", "map_sigma2")
_HALF_NUMBERS = ("offset_sigma_px", "average_norm", "log_likelihood", "mean_pmax")


@dataclass(frozen=True)
class Refine3DFiles:
    """Where and for which job iterations are written.

    Attributes:
        directory: the job's directory.
        particles: the table as it was read, with rlnGroupNumber (from 1) added.
        group_names: of every group (micrograph), and ``noise_of_group`` the noise spectrum it uses.
        job: parameters, by name, recorded and checked when an iteration is read back; ``symmetry``,
            ``padding``, ``perturbation`` and ``maximum_iterations`` are among them.
        seed: the run's seed.
        mask_name: of the solvent mask, relative to the directory; "None" without one.
    """

    directory: Path
    particles: Particles
    group_names: Sequence[str]
    noise_of_group: Sequence[int]
    job: Mapping[str, Any]
    seed: int
    box_px: int
    pixel_size_angstrom: float
    mask_name: str = "None"

    def path(self, iteration: int, name: str) -> Path:
        """A file of an iteration, ``run_itNNN_<name>``."""
        return self.directory / f"run_it{iteration:03d}_{name}"

    def begin(self, state: Refinement) -> None:
        """Remove what an earlier attempt left, and mark the start of this one."""
        for path in sorted(self.directory.iterdir()):
            if _OWN_FILES.match(path.name):
                path.unlink()
        self._write_optimiser(state)
        self.write(state)

    def write(self, state: Refinement) -> None:
        """Write every file of an iteration, each atomically, the optimiser file last."""
        number = state.iteration
        write_star(self.path(number, "sampling.star"), self._sampling(state))
        write_particles(self.path(number, "data.star"), self._particles(state))
        for half, model in enumerate(state.halves, start=1):
            name = f"half{half}_class001.mrc"
            blocks = model_blocks(self._model(state, model, self.path(number, name).name, half))
            write_star(self.path(number, f"half{half}_model.star"), blocks)
            write_map(self.path(number, name), model.reference.numpy(), self.pixel_size_angstrom)
        with atomic_writer(self.path(number, "state.npz")) as stream:
            np.savez(stream, **self._exact(state))
        self._write_optimiser(state)

    def write_final(self, final: Final) -> None:
        """Write the unnumbered files of a converged refinement, ``run_model.star`` last."""
        state, pixel = final.refinement, self.pixel_size_angstrom
        for half, volume in enumerate(final.halves, start=1):
            write_map(self.directory / f"run_half{half}_class001_unfil.mrc", volume.numpy(), pixel)
        write_map(self.directory / "run_class001.mrc", final.state.reference.numpy(), pixel)
        write_particles(self.directory / "run_data.star", self._particles(state))
        write_star(self.directory / "run_sampling.star", self._sampling(state))
        blocks = model_blocks(self._model(state, final.state, "run_class001.mrc", None))
        write_star(self.directory / "run_model.star", blocks)

    def read(self, iteration: int) -> Refinement:
        """The state after a complete iteration, exactly as it was.

        Raises:
            InputError: the sidecar is missing or damaged, or is of another seed or other parameters.
        """
        path = self.path(iteration, "state.npz")
        arrays = _load(path)
        try:
            return self._state(arrays, iteration, path)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: the saved state is not complete ({error}).") from error

    def _state(self, arrays: dict[str, NDArray[Any]], iteration: int, path: Path) -> Refinement:
        if str(arrays["job"]) != self._job():
            raise InputError(f"{path}: written with another seed or other parameters than this run's.")
        poses = {name.removeprefix("poses."): v for name, v in arrays.items() if name.startswith("poses.")}
        saved = json.loads(str(arrays["numbers"]))
        halves = []
        for half in (1, 2):
            volume = torch.from_numpy(read_map(self.path(iteration, f"half{half}_class001.mrc"))[0])
            values: dict[str, Any] = {n: torch.from_numpy(arrays[f"half{half}.{n}"]) for n in _HALF_TENSORS}
            halves.append(HalfState(reference=volume, **values, **saved["halves"][half - 1]))
        return Refinement(
            iteration=iteration,
            halves=(halves[0], halves[1]),
            half_of=arrays["half_of"],
            poses=poses_from_arrays(poses),
            schedule=Schedule(**saved["schedule"]),
            perturbation=saved["perturbation"],
            fsc=torch.from_numpy(arrays["fsc"]),
            resolution_shell=saved["resolution_shell"],
            accuracy=Accuracy(**saved["accuracy"]),
            changes=Changes(**saved["changes"]),
        )

    def _exact(self, state: Refinement) -> dict[str, Any]:
        arrays: dict[str, Any] = {"job": np.array(self._job()), "half_of": state.half_of}
        arrays |= {f"poses.{name}": values for name, values in poses_to_arrays(state.poses).items()}
        for half, model in enumerate(state.halves, start=1):
            arrays |= {f"half{half}.{name}": getattr(model, name).numpy() for name in _HALF_TENSORS}
        numbers = {
            "schedule": asdict(state.schedule),
            "accuracy": asdict(state.accuracy),
            "changes": asdict(state.changes),
            "perturbation": state.perturbation,
            "resolution_shell": state.resolution_shell,
            "halves": [{name: getattr(half, name) for name in _HALF_NUMBERS} for half in state.halves],
        }
        return arrays | {"fsc": state.fsc.numpy(), "numbers": np.array(json.dumps(numbers))}

    def _job(self) -> str:
        return json.dumps({"seed": self.seed} | dict(self.job), sort_keys=True)

    def _particles(self, state: Refinement) -> Particles:
        found = with_found_poses(self.particles, state.poses, self.pixel_size_angstrom)
        return found.with_columns(rlnRandomSubset=state.half_of)

    def _model(self, state: Refinement, model: HalfState, map_name: str, half: int | None) -> ModelTables:
        started = state.iteration > 0
        resolution = shell_to_angstrom(state.resolution_shell, self.box_px, self.pixel_size_angstrom)
        index = self.particles.columns["rlnGroupNumber"] - 1
        here = slice(None) if half is None else state.half_of == half
        members = np.bincount(index[here], minlength=len(self.group_names))
        noise = model.sigma2.numpy()[list(self.noise_of_group)]
        spectra = ClassTables(
            map_name=map_name,
            fraction=1.0,
            resolution_angstrom=resolution,
            ssnr=model.ssnr.numpy(),
            gold_standard_fsc=state.fsc.numpy(),
            coverage=model.coverage.numpy(),
            sigma2=model.map_sigma2.numpy(),
            tau2=model.tau2.numpy(),
            direction_prior=model.direction_prior.numpy(),
        )
        return ModelTables(
            box_px=self.box_px,
            pixel_size_angstrom=self.pixel_size_angstrom,
            padding=int(self.job["padding"]),
            resolution_angstrom=resolution if started else math.inf,
            image_size_px=2 * state.schedule.radius if started else self.box_px,
            tau2_fudge=1.0,
            average_norm=model.average_norm,
            offset_sigma_angstrom=model.offset_sigma_px * self.pixel_size_angstrom,
            log_likelihood=model.log_likelihood,
            average_pmax=model.mean_pmax,
            classes=[spectra],
            groups=[
                NoiseGroup(name, int(members[i]), float(model.scale[i]), noise[i])
                for i, name in enumerate(self.group_names)
            ],
            local_sigma_deg=self._local_sigma_deg(state),
            accuracy=(
                _measured(state.accuracy.rotation_deg),
                _measured(state.accuracy.offset_px * self.pixel_size_angstrom),
            ),
        )

    def _local_sigma_deg(self, state: Refinement) -> float:
        """Deviation of the priors of the next search, 0 if that is global."""
        schedule = state.schedule
        return STEPS_PER_SIGMA * schedule.fine_step_deg if schedule.is_local else 0.0

    def _sampling(self, state: Refinement) -> Any:
        schedule, pixel = state.schedule, self.pixel_size_angstrom
        symmetry = str(self.job["symmetry"])
        order = schedule.healpix_order
        pixels = asymmetric_unit(order, torch.from_numpy(symmetry_matrices(symmetry)))
        return sampling_blocks(
            healpix_order=order,
            symmetry=symmetry,
            offset_range_angstrom=schedule.offset_range_px * pixel,
            offset_step_angstrom=schedule.offset_step_px * pixel,
            perturbation=state.perturbation,
            perturbation_factor=float(self.job["perturbation"]),
            directions_deg=pixel_angles_deg(order)[pixels].numpy(),
        )

    def _write_optimiser(self, state: Refinement) -> None:
        number, schedule, pixel = state.iteration, state.schedule, self.pixel_size_angstrom
        values: dict[str, str | int | float] = {
            "rlnOutputRootName": "run",
            "rlnModelStarFile": self.path(number, "half1_model.star").name,
            "rlnModelStarFile2": self.path(number, "half2_model.star").name,
            "rlnExperimentalDataStarFile": self.path(number, "data.star").name,
            "rlnOrientSamplingStarFile": self.path(number, "sampling.star").name,
            "rlnDoSplitRandomHalves": 1,
            "rlnDoAutoRefine": 1,
            "rlnAdaptiveOversampleOrder": schedule.oversampling,
            "rlnNumberOfIterWithoutResolutionGain": schedule.without_gain,
            "rlnNumberOfIterWithoutChangingAssignments": schedule.without_change,
            "rlnBestResolutionThusFar": schedule.best_shell / (self.box_px * pixel),
            "rlnChangesOptimalClasses": 0,
            "rlnSmallestChangesClasses": 0,
            "rlnHasConverged": int(schedule.converged),
        }
        lengths = {
            "rlnOverallAccuracyRotations": state.accuracy.rotation_deg,
            "rlnOverallAccuracyTranslationsAngst": state.accuracy.offset_px * pixel,
            "rlnChangesOptimalOrientations": state.changes.rotation_deg,
            "rlnChangesOptimalOffsets": state.changes.offset_px * pixel,
            "rlnSmallestChangesOrientations": schedule.smallest_rotation_deg,
            "rlnSmallestChangesOffsets": schedule.smallest_offset_px * pixel,
        }
        values |= {name: _measured(value) for name, value in lengths.items()}
        values |= self._options()
        block = optimiser_block(number, int(self.job["maximum_iterations"]), self.seed, values)
        write_star(self.path(number, "optimiser.star"), [block])

    def _options(self) -> dict[str, str | int | float]:
        """The job's parameters by RELION's labels."""
        job = self.job
        limit = job.get("strict_highres_angstrom")
        return {
            "rlnJoinHalvesUntilThisResolution": float(job["low_resol_join_halves_angstrom"]),
            "rlnAdaptiveOversampleFraction": float(job["adaptive_fraction"]),
            "rlnParticleDiameter": float(job["particle_diameter_angstrom"]),
            "rlnDoZeroMask": int(job["zero_mask"]),
            "rlnDoSolventFlattening": int(job["flatten_solvent"]),
            "rlnDoSolventFscCorrection": int(job["solvent_correct_fsc"]),
            "rlnSolventMaskName": self.mask_name,
            "rlnHighresLimitExpectation": -1.0 if limit is None else float(limit),
            "rlnAutoLocalSearchesHealpixOrder": int(job["auto_local_healpix_order"]),
            "rlnDoCorrectNorm": int(job["norm"]),
            "rlnDoCorrectScale": int(job["scale"]),
            "rlnDoCorrectCtf": int(job["ctf"]),
            "rlnRefsAreCtfCorrected": int(job["ctf_corrected_ref"]),
            "rlnFixSigmaOffsetEstimates": int(job["fix_offset_sigma"]),
        }


def _measured(value: float) -> float:
    """RELION writes 999 for what it has not measured yet."""
    return value if math.isfinite(value) else 999.0


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: the saved state cannot be read ({error}).") from error
