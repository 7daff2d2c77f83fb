"""Iterations of an initial model on disk: a classification's files, and what only the gradient needs beside them.

The optimiser file is written last: an iteration is complete when it is there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.class3d_files import Class3DFiles
from cryorepro.em.class3d_state import Class3DSettings
from cryorepro.em.errors import InputError
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.initial_model_products import FINAL_MAP
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.relion_files import Iteration
from cryorepro.em.initial_model_state import InitialModelSettings, InitialModelState
from cryorepro.em.relion_restart import JobShape, read_saved_sampling
from cryorepro.em.relion_restart_states import class3d_state
from cryorepro.em.sampling import asymmetric_unit
from cryorepro.em.symmetry import symmetry_matrices


@dataclass(frozen=True)
class InitialModelFiles:
    """Where and for which job iterations are written; see :class:`~cryorepro.em.class3d_files.Class3DFiles`."""

    directory: Path
    particles: Particles
    group_names: Sequence[str]
    noise_of_group: Sequence[int]
    settings: InitialModelSettings
    seed: int
    box_px: int
    pixel_size_angstrom: float
    write_every: int = 10

    def due(self, iteration: int) -> bool:
        """Whether an iteration is written: every so many, and the last."""
        return iteration % self.write_every == 0 or iteration == self.settings.iterations

    def clear(self) -> None:
        """Remove what an earlier attempt left."""
        self._tables.clear()
        (self.directory / FINAL_MAP).unlink(missing_ok=True)

    def write(self, state: InitialModelState) -> None:
        """Write every file of an iteration, each atomically, the optimiser file last."""
        with atomic_writer(self._gradient_path(state.iteration)) as stream:
            np.savez(
                stream,
                job=np.array(self._job()),
                velocity=state.velocity.numpy(),
                curvature=state.curvature.numpy(),
            )
        self._tables.write(state.model)

    def read(self, iteration: int) -> InitialModelState:
        """The state after a complete iteration, exactly as it was.

        Raises:
            InputError: a sidecar is missing or damaged, or is of another seed or other settings.
        """
        path = self._gradient_path(iteration)
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: the saved state cannot be read ({error}).") from error
        if str(arrays["job"]) != self._job():
            raise InputError(f"{path}: written with another seed or other parameters than this run's.")
        velocity, curvature = (torch.from_numpy(arrays[name]) for name in ("velocity", "curvature"))
        return InitialModelState(self._tables.read(iteration), velocity, curvature)

    def adopt(self, last: Iteration) -> InitialModelState:
        """The state after an iteration that only RELION's files tell of; the gradient's running means begin afresh.

        Raises:
            InputError: the files are not of this job's particles or classes.
        """
        shape = JobShape(self.particles, self.group_names, self.noise_of_group, self.box_px, self.pixel_size_angstrom)
        symmetry = torch.from_numpy(symmetry_matrices(self.settings.running_symmetry).copy())
        # RELION refines the sampling towards the end of its course; ours stays, and knows no prior on directions
        order = read_saved_sampling(last.path("sampling.star"), self.pixel_size_angstrom).healpix_order
        model = class3d_state(last, shape, replace(self._tables.settings, healpix_order=order), symmetry)
        classes, directions = model.volumes.shape[0], asymmetric_unit(self.settings.healpix_order, symmetry).shape[0]
        uniform = torch.full((classes, directions), 1.0 / (classes * directions), dtype=torch.float64)
        model = replace(model, direction_prior=uniform)
        return InitialModelState(model, torch.zeros_like(model.volumes), torch.zeros_like(model.tau2))

    def write_final(self, volume: Tensor) -> None:
        """Write the map that a refinement starts from."""
        write_map(self.directory / FINAL_MAP, volume.numpy(), self.pixel_size_angstrom)

    def resolution_angstrom(self, shell: int) -> float:
        """Resolution of a Fourier shell; infinite at the origin."""
        return self._tables.resolution_angstrom(shell)

    def _gradient_path(self, iteration: int) -> Path:
        return self._tables.path(iteration, "gradient.npz")

    def _job(self) -> str:
        return json.dumps({"seed": self.seed} | asdict(self.settings), sort_keys=True)

    @property
    def _tables(self) -> Class3DFiles:
        settings = self.settings
        shared = Class3DSettings(
            particle_diameter_angstrom=settings.particle_diameter_angstrom,
            number_of_classes=settings.number_of_classes,
            iterations=settings.iterations,
            tau2_fudge=settings.tau2_fudge,
            ini_high_angstrom=settings.initial_resolution_angstrom,
            healpix_order=settings.healpix_order,
            oversampling=settings.oversampling,
            offset_range_px=settings.offset_range_px,
            offset_step_px=settings.offset_step_px,
            offset_sigma_angstrom=settings.offset_sigma_angstrom,
            symmetry=settings.running_symmetry,
            ctf=settings.ctf,
            flatten_solvent=True,
            zero_mask=settings.zero_mask,
            perturbation=settings.perturbation,
            adaptive_fraction=settings.adaptive_fraction,
            padding=settings.padding,
        )
        return Class3DFiles(
            self.directory, self.particles, self.group_names, self.noise_of_group, shared, self.seed, self.box_px,
            self.pixel_size_angstrom,
        )  # fmt: skip
