"""A refinement's iterations on disk: those of :mod:`cryorepro.em.refine3d_files`, and what only this engine knows.

``run_itNNN_homogeneous.npz`` holds the particles' intensities and the mask, and is written before RELION's files: an
iteration is complete when its optimiser file is there.  ``cryoreproScale`` in the particle tables is the intensity.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.errors import InputError
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.homogeneous_products import FILTER, FSC, LOCAL_MAP, MASK
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.fsc import MaskedFsc, shell_to_angstrom
from cryorepro.em.homogeneous.refinement import Finished, Homogeneous
from cryorepro.em.homogeneous.regularise import AnyLocalFilter
from cryorepro.em.refine3d_files import Refine3DFiles

_ORIGIN_ANGSTROM = 999.0


@dataclass(frozen=True)
class HomogeneousFiles:
    """Writes and reads iterations; ``relion`` does so for what RELION's files can carry."""

    relion: Refine3DFiles

    def begin(self, state: Homogeneous) -> None:
        """Remove what an earlier attempt left, and write the state before the first iteration."""
        for name in (MASK, FSC, FILTER, LOCAL_MAP):
            (self.relion.directory / name).unlink(missing_ok=True)
        self._with_scale(state).begin(state.refinement)
        self._write_own(state)

    def write(self, state: Homogeneous) -> None:
        """Write every file of an iteration, RELION's optimiser file last."""
        self._write_own(state)
        self._with_scale(state).write(state.refinement)

    def write_final(self, finished: Finished) -> None:
        """Write mask, FSC, local filter and the unnumbered files, ``run_model.star`` last."""
        state, directory = finished.state, self.relion.directory
        write_map(directory / MASK, state.mask.numpy(), self.relion.pixel_size_angstrom)
        if state.curves is not None:
            write_fsc(directory / FSC, state.curves, self.relion.box_px, self.relion.pixel_size_angstrom)
        if state.local is not None:
            lowpass = lowpass_angstrom(state.local, self.relion.box_px, self.relion.pixel_size_angstrom)
            write_map(directory / FILTER, lowpass.numpy(), self.relion.pixel_size_angstrom)
        if finished.local_map is not None:
            write_map(directory / LOCAL_MAP, finished.local_map.numpy(), self.relion.pixel_size_angstrom)
        self._with_scale(state).write_final(finished.final)

    def read(self, iteration: int) -> Homogeneous:
        """The state after a complete iteration, exactly as it was, but for its curves and filter.

        Raises:
            InputError: a file is missing or damaged, or of another seed or other parameters.
        """
        refinement = self.relion.read(iteration)
        path = self._own(iteration)
        try:
            with np.load(path, allow_pickle=False) as archive:
                scale, mask = (torch.from_numpy(archive[name]) for name in ("scale", "mask"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: the saved state cannot be read ({error}).") from error
        return Homogeneous(refinement, scale, mask)

    def _write_own(self, state: Homogeneous) -> None:
        with atomic_writer(self._own(state.refinement.iteration)) as stream:
            np.savez(stream, scale=state.scale.numpy(), mask=state.mask.numpy())

    def _own(self, iteration: int) -> Path:
        return self.relion.path(iteration, "homogeneous.npz")

    def _with_scale(self, state: Homogeneous) -> Refine3DFiles:
        particles = self.relion.particles.with_columns(cryoreproScale=state.scale.numpy())
        return replace(self.relion, particles=particles)


def lowpass_angstrom(local: AnyLocalFilter, box_px: int, pixel_size_angstrom: float) -> Tensor:
    """``[n, n, n]`` float32 resolution in Angstrom to which each voxel was low-passed."""
    return torch.from_numpy(box_px * pixel_size_angstrom / local.cutoff_shells()).float()


def write_fsc(path: Path, curves: MaskedFsc, box_px: int, pixel_size_angstrom: float) -> None:
    """Write the four curves with RELION's labels, as its post-processing does."""
    shells = range(1, box_px // 2 + 1)
    angstrom = [_ORIGIN_ANGSTROM] + [shell_to_angstrom(s, box_px, pixel_size_angstrom) for s in shells]
    columns = {
        "rlnSpectralIndex": list(range(len(angstrom))),
        "rlnResolution": [1.0 / value for value in angstrom],
        "rlnAngstromResolution": angstrom,
        "rlnFourierShellCorrelationCorrected": curves.corrected.tolist(),
        "rlnFourierShellCorrelationUnmaskedMaps": curves.unmasked.tolist(),
        "rlnFourierShellCorrelationMaskedMaps": curves.masked.tolist(),
        "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": curves.randomised.tolist(),
    }
    write_star(path, [make_block("fsc", columns)])
