"""A classification's iterations on disk: RELION's files, and a sidecar with what they cannot carry exactly.

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

from cryorepro.em.class3d_state import Class3DSettings, Class3DState
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
from cryorepro.em.healpix import pixel_angles_deg
from cryorepro.em.maximisation import resolved_shell
from cryorepro.em.posed_particles import with_found_poses
from cryorepro.em.sampling import asymmetric_unit
from cryorepro.em.symmetry import symmetry_matrices

_OWN_FILES = re.compile(r"^run_it\d{3}_")
_TENSORS = (
    "sigma2", "direction_prior", "tau2", "reference_sigma2", "data_vs_prior", "coverage", "scale",
)  # fmt: skip
_NUMBERS = (
    "iteration", "offset_sigma_angstrom", "average_norm", "perturbation", "resolution_shell", "image_radius",
    "log_likelihood", "average_pmax",
)  # fmt: skip
_WHOLE_NUMBERS = frozenset({"iteration", "resolution_shell", "image_radius"})


@dataclass(frozen=True)
class Class3DFiles:
    """Where and for which job iterations are written.

    Attributes:
        directory: the job's directory.
        particles: the table as it was read, with rlnGroupNumber (from 1) added.
        group_names: of every group (micrograph), and ``noise_of_group`` the noise spectrum it uses.
        settings, seed: recorded, and checked when an iteration is read back.
        mask_name: of the solvent mask, relative to the directory; "None" without one.
    """

    directory: Path
    particles: Particles
    group_names: Sequence[str]
    noise_of_group: Sequence[int]
    settings: Class3DSettings
    seed: int
    box_px: int
    pixel_size_angstrom: float
    mask_name: str = "None"

    def path(self, iteration: int, name: str) -> Path:
        """A file of an iteration, ``run_itNNN_<name>``."""
        return self.directory / f"run_it{iteration:03d}_{name}"

    def map_path(self, iteration: int, number: int) -> Path:
        """The map of class ``number`` (from 0)."""
        return self.path(iteration, f"class{number + 1:03d}.mrc")

    def clear(self) -> None:
        """Remove what an earlier attempt left: its files must not be taken for this run's."""
        for path in sorted(self.directory.iterdir()):
            if _OWN_FILES.match(path.name):
                path.unlink()

    def write(self, state: Class3DState) -> None:
        """Write every file of an iteration, each atomically, the optimiser file last."""
        number = state.iteration
        if number > 0:
            write_star(self.path(number, "sampling.star"), self._sampling(state))
        write_particles(self.path(number, "data.star"), self._particles(state))
        write_star(self.path(number, "model.star"), model_blocks(self._model(state)))
        for index, volume in enumerate(state.volumes):
            write_map(self.map_path(number, index), volume.numpy(), self.pixel_size_angstrom)
        with atomic_writer(self.path(number, "state.npz")) as stream:
            np.savez(stream, **self._exact(state))
        block = optimiser_block(number, self.settings.iterations, self.seed, self._options(number))
        write_star(self.path(number, "optimiser.star"), [block])

    def read(self, iteration: int) -> Class3DState:
        """The state after a complete iteration, exactly as it was.

        Raises:
            InputError: the sidecar is missing or damaged, or is of another seed or other settings.
        """
        path = self.path(iteration, "state.npz")
        arrays = _load(path)
        if str(arrays["job"]) != self._job():
            raise InputError(f"{path}: written with another seed or other parameters than this run's.")
        volumes = [read_map(self.map_path(iteration, k))[0] for k in range(self.settings.number_of_classes)]
        poses = {name.removeprefix("poses."): v for name, v in arrays.items() if name.startswith("poses.")}
        values: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
        for name in _NUMBERS:
            values[name] = int(arrays[name]) if name in _WHOLE_NUMBERS else float(arrays[name])
        return Class3DState(volumes=torch.from_numpy(np.stack(volumes)), poses=poses_from_arrays(poses), **values)

    def _job(self) -> str:
        return json.dumps({"seed": self.seed} | asdict(self.settings), sort_keys=True)

    def _exact(self, state: Class3DState) -> dict[str, Any]:
        arrays: dict[str, Any] = {"job": np.array(self._job())}
        arrays |= {f"poses.{name}": values for name, values in poses_to_arrays(state.poses).items()}
        arrays |= {name: getattr(state, name).numpy() for name in _TENSORS}
        return arrays | {name: np.array(getattr(state, name)) for name in _NUMBERS}

    def _particles(self, state: Class3DState) -> Particles:
        first = 0 if state.iteration == 0 else 1
        return with_found_poses(self.particles, state.poses, self.pixel_size_angstrom, first)

    def _model(self, state: Class3DState) -> ModelTables:
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
            classes=[self._class(state, number) for number in range(state.volumes.shape[0])],
            groups=[
                NoiseGroup(name, int(members[i]), float(state.scale[i]), noise[i])
                for i, name in enumerate(self.group_names)
            ],
        )

    def _class(self, state: Class3DState, number: int) -> ClassTables:
        shell = resolved_shell(state.data_vs_prior[number : number + 1], 0)
        return ClassTables(
            map_name=self.map_path(state.iteration, number).name,
            fraction=float(state.class_fractions[number]),
            resolution_angstrom=self.resolution_angstrom(shell),
            ssnr=state.data_vs_prior[number].numpy(),
            gold_standard_fsc=np.zeros(state.tau2.shape[1]),
            coverage=state.coverage[number].numpy(),
            sigma2=state.reference_sigma2[number].numpy(),
            tau2=state.tau2[number].numpy(),
            direction_prior=state.direction_prior[number].numpy(),
        )

    def resolution_angstrom(self, shell: int) -> float:
        """Resolution of a Fourier shell; infinite at the origin."""
        return self.box_px * self.pixel_size_angstrom / shell if shell > 0 else float("inf")

    def _sampling(self, state: Class3DState) -> Any:
        settings, pixel = self.settings, self.pixel_size_angstrom
        symmetry = torch.from_numpy(symmetry_matrices(settings.symmetry).copy())
        pixels = asymmetric_unit(settings.healpix_order, symmetry)
        return sampling_blocks(
            healpix_order=settings.healpix_order,
            symmetry=settings.symmetry,
            offset_range_angstrom=settings.offset_range_px * pixel,
            offset_step_angstrom=settings.offset_step_px * pixel,
            perturbation=state.perturbation,
            perturbation_factor=settings.perturbation,
            directions_deg=pixel_angles_deg(settings.healpix_order)[pixels].numpy(),
        )

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
            "rlnRefsAreCtfCorrected": int(settings.ctf_corrected_ref or iteration > 0),
            "rlnFixSigmaOffsetEstimates": int(settings.fix_offset_sigma),
            "rlnHighresLimitExpectation": settings.strict_highres_angstrom or -1.0,
            "rlnSolventMaskName": self.mask_name,
        }


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: the saved state cannot be read ({error}).") from error
