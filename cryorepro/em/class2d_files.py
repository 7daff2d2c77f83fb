"""A 2D classification's iterations on disk: RELION's files, and a sidecar with what they cannot carry exactly.

The optimiser file is written last: an iteration is complete when it is there.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryorepro.em.class2d_grid import angle_count
from cryorepro.em.class2d_state import Class2DSettings, Class2DState
from cryorepro.em.errors import InputError
from cryorepro.em.estep_sums import poses_from_arrays, poses_to_arrays
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.maps import write_stack
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.formats.relion_write import (
    ClassTables,
    ModelTables,
    NoiseGroup,
    model_blocks,
    optimiser_block,
    plane_sampling_blocks,
)
from cryorepro.em.formats.star import write_star
from cryorepro.em.maximisation import resolved_shell
from cryorepro.em.posed_particles import with_found_poses

_OWN_FILES = re.compile(r"^run_it\d{3}_")
_TENSORS = (
    "averages", "sigma2", "class_fractions", "class_offset_px", "tau2", "reference_sigma2", "data_vs_prior", "coverage",
    "scale",
)  # fmt: skip
_NUMBERS = (
    "iteration", "offset_sigma_angstrom", "average_norm", "perturbation", "resolution_shell", "image_radius",
    "log_likelihood", "average_pmax",
)  # fmt: skip
_WHOLE_NUMBERS = frozenset({"iteration", "resolution_shell", "image_radius"})


@dataclass(frozen=True)
class Class2DFiles:
    """Where and for which job iterations are written.

    Attributes:
        directory: the job's directory.
        particles: the table as it was read, with rlnGroupNumber (from 1) added.
        group_names: of every group (micrograph), and ``noise_of_group`` the noise spectrum it uses.
        settings, seed: recorded, and checked when an iteration is read back.
    """

    directory: Path
    particles: Particles
    group_names: Sequence[str]
    noise_of_group: Sequence[int]
    settings: Class2DSettings
    seed: int
    box_px: int
    pixel_size_angstrom: float

    def path(self, iteration: int, name: str) -> Path:
        """A file of an iteration, ``run_itNNN_<name>``."""
        return self.directory / f"run_it{iteration:03d}_{name}"

    def clear(self) -> None:
        """Remove what an earlier attempt left: its files must not be taken for this run's."""
        for path in sorted(self.directory.iterdir()):
            if _OWN_FILES.match(path.name):
                path.unlink()

    def write(self, state: Class2DState) -> None:
        """Write every file of an iteration, each atomically, the optimiser file last."""
        number = state.iteration
        if number > 0:
            write_star(self.path(number, "sampling.star"), plane_sampling_blocks(**self._sampling(state)))
        write_particles(self.path(number, "data.star"), self._particles(state))
        write_star(self.path(number, "model.star"), model_blocks(self._model(state)))
        write_stack(self.path(number, "classes.mrcs"), state.averages.numpy(), self.pixel_size_angstrom)
        with atomic_writer(self.path(number, "state.npz")) as stream:
            np.savez(stream, **self._exact(state))
        block = optimiser_block(number, self.settings.iterations, self.seed, self._options(number))
        write_star(self.path(number, "optimiser.star"), [block])

    def read(self, iteration: int) -> Class2DState:
        """The state after a complete iteration, exactly as it was.

        Raises:
            InputError: the sidecar is missing or damaged, or is of another seed or other settings.
        """
        path = self.path(iteration, "state.npz")
        arrays = _load(path)
        if str(arrays.get("job")) != self._job():
            raise InputError(f"{path}: written with another seed or other parameters than this run's.")
        poses = {name.removeprefix("poses."): v for name, v in arrays.items() if name.startswith("poses.")}
        values: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
        for name in _NUMBERS:
            values[name] = int(arrays[name]) if name in _WHOLE_NUMBERS else float(arrays[name])
        return Class2DState(poses=poses_from_arrays(poses), **values)

    def resolution_angstrom(self, shell: int) -> float:
        """Resolution of a Fourier shell; infinite at the origin."""
        return self.box_px * self.pixel_size_angstrom / shell if shell else float("inf")

    def _job(self) -> str:
        return json.dumps({"seed": self.seed} | asdict(self.settings), sort_keys=True)

    def _exact(self, state: Class2DState) -> dict[str, Any]:
        arrays: dict[str, Any] = {"job": np.array(self._job())}
        arrays |= {f"poses.{name}": values for name, values in poses_to_arrays(state.poses).items()}
        arrays |= {name: getattr(state, name).numpy() for name in _TENSORS}
        return arrays | {name: np.array(getattr(state, name)) for name in _NUMBERS}

    def _particles(self, state: Class2DState) -> Particles:
        first = 0 if state.iteration == 0 else 1
        return with_found_poses(self.particles, state.poses, self.pixel_size_angstrom, first)

    def _model(self, state: Class2DState) -> ModelTables:
        started = state.iteration > 0
        index = self.particles.columns["rlnGroupNumber"] - 1
        members = np.bincount(index, minlength=len(self.group_names))
        noise = state.sigma2.numpy()[self.noise_of_group]
        return ModelTables(
            box_px=self.box_px,
            pixel_size_angstrom=self.pixel_size_angstrom,
            padding=self.settings.padding,
            resolution_angstrom=self.resolution_angstrom(state.resolution_shell) if started else float("inf"),
            image_size_px=2 * state.image_radius if started else self.box_px,
            tau2_fudge=self.settings.tau2_fudge,
            average_norm=state.average_norm,
            offset_sigma_angstrom=state.offset_sigma_angstrom,
            log_likelihood=state.log_likelihood,
            average_pmax=state.average_pmax,
            classes=[self._class(state, number) for number in range(state.averages.shape[0])],
            groups=[
                NoiseGroup(name, int(members[i]), float(state.scale[i]), noise[i])
                for i, name in enumerate(self.group_names)
            ],
        )

    def _class(self, state: Class2DState, number: int) -> ClassTables:
        shell = resolved_shell(state.data_vs_prior[number : number + 1], 0)
        x, y = state.class_offset_px[number].tolist()
        return ClassTables(
            map_name=f"{number + 1:06d}@{self.path(state.iteration, 'classes.mrcs').name}",
            fraction=float(state.class_fractions[number]),
            resolution_angstrom=self.resolution_angstrom(shell),
            ssnr=state.data_vs_prior[number].numpy(),
            gold_standard_fsc=np.zeros(state.tau2.shape[1]),
            coverage=state.coverage[number].numpy(),
            sigma2=state.reference_sigma2[number].numpy(),
            tau2=state.tau2[number].numpy(),
            offset_px=(x, y),
        )

    def _sampling(self, state: Class2DState) -> dict[str, float]:
        settings, pixel = self.settings, self.pixel_size_angstrom
        return {
            "psi_step_deg": 360.0 / angle_count(settings.psi_step_degrees),
            "offset_range_angstrom": settings.offset_range_px * pixel,
            "offset_step_angstrom": settings.offset_step_px * pixel,
            "perturbation": state.perturbation,
            "perturbation_factor": settings.perturbation,
        }

    def _options(self, iteration: int) -> dict[str, str | int | float]:
        settings = self.settings
        return {
            "rlnOutputRootName": "run",
            "rlnModelStarFile": self.path(iteration, "model.star").name,
            "rlnExperimentalDataStarFile": self.path(iteration, "data.star").name,
            "rlnOrientSamplingStarFile": self.path(iteration, "sampling.star").name,
            "rlnAdaptiveOversampleOrder": settings.oversampling,
            "rlnAdaptiveOversampleFraction": settings.adaptive_fraction,
            "rlnParticleDiameter": settings.particle_diameter_angstrom,
            "rlnDoZeroMask": int(settings.zero_mask),
            "rlnDoSolventFlattening": int(settings.flatten_solvent),
            "rlnDoCorrectNorm": int(settings.norm),
            "rlnDoCorrectScale": int(settings.scale),
            "rlnDoCorrectCtf": int(settings.ctf),
            "rlnDoIgnoreCtfUntilFirstPeak": int(settings.ctf_intact_first_peak),
            "rlnRefsAreCtfCorrected": 1,
            "rlnFixSigmaOffsetEstimates": int(settings.fix_offset_sigma),
            "rlnHighresLimitExpectation": settings.strict_highres_angstrom or -1.0,
            "rlnDoFastSubsetOptimisation": int(settings.fast_subsets),
        }


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: the saved state cannot be read ({error}).") from error
