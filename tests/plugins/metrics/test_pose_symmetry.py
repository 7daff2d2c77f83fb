"""Pose errors of a symmetric particle: equivalent orientations are the same one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cryorepro_metrics.poses import PoseError

from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.rotations import matrix_to_euler, random_rotations
from cryorepro.em.symmetry import rotation_about_axis, symmetry_matrices
from cryorepro.model.dataset import PreparedData
from cryorepro.plugins.interfaces import MetricContext

COUNT = 200


def _table(path: Path, matrices: torch.Tensor) -> Path:
    optics = OpticsGroup(
        group=1, name="g", voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1,
        pixel_size_angstrom=3.0, box_px=64,
    )  # fmt: skip
    angles = matrix_to_euler(matrices).numpy()
    columns = {
        "rlnImageName": np.array([f"{i + 1:06d}@particles.mrcs" for i in range(COUNT)], dtype=object),
        "rlnAngleRot": angles[:, 0],
        "rlnAngleTilt": angles[:, 1],
        "rlnAnglePsi": angles[:, 2],
        "rlnClassNumber": np.ones(COUNT, dtype=np.int64),
        "rlnOpticsGroup": np.ones(COUNT, dtype=np.int64),
    }
    write_particles(path, Particles((optics,), columns, "test"))
    return path


def _median(tmp_path: Path, found: torch.Tensor, true: torch.Tensor, symmetry: str) -> float:
    data = PreparedData(files={}, box_px=64, pixel_size_angstrom=3.0, voltage_kv=300.0, origin="a test")
    context = MetricContext(
        artifacts={"particles": _table(tmp_path / "found.star", found)},
        data=data,
        truth={"particles": _table(tmp_path / "true.star", true)},
        stage_parameters={"symmetry": symmetry},
        numbers={},
    )
    return PoseError().measure(context).value


@pytest.mark.parametrize("symmetry", ["O", "D7", "I2"])
def test_equivalent_orientations_are_not_errors_and_errors_are(symmetry: str, tmp_path: Path) -> None:
    true = random_rotations(COUNT, torch.Generator().manual_seed(1))
    group = torch.from_numpy(symmetry_matrices(symmetry))
    mates = true @ group[torch.arange(COUNT) % len(group)]
    assert _median(tmp_path, mates, true, symmetry) < 1e-3
    # errors of 3 degrees about axes of every direction cannot be taken for a turned frame
    axes = random_rotations(COUNT, torch.Generator().manual_seed(2))[:, 0].numpy()
    turns = torch.from_numpy(np.stack([rotation_about_axis(axis, np.radians(3.0)) for axis in axes]))
    assert _median(tmp_path, mates @ turns, true, symmetry) == pytest.approx(3.0, abs=0.3)
    assert _median(tmp_path, mates, true, "C1") > 15.0
