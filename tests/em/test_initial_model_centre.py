"""A first map follows its centre of mass: one voxel at a time, until it stands in the middle."""

from __future__ import annotations

import pytest
import torch

from cryorepro.em.initial_model import towards_centre


def ball(centre_zyx: tuple[float, float, float], box: int = 32) -> torch.Tensor:
    axis = torch.arange(box, dtype=torch.float32) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    squared = (z - centre_zyx[0]) ** 2 + (y - centre_zyx[1]) ** 2 + (x - centre_zyx[2]) ** 2
    return torch.exp(-squared / 8.0) - 0.01


@pytest.mark.parametrize("start", [(6.0, -3.0, 0.0), (0.4, 0.9, -0.8), (-5.0, 5.0, 4.0)])
def test_steps_lead_to_the_middle_and_end_there(start: tuple[float, float, float]) -> None:
    volume = ball(start)
    steps = 0
    while (step := towards_centre(volume)) != (0, 0, 0):
        assert max(map(abs, step)) == 1
        volume, steps = volume.roll(step, (0, 1, 2)), steps + 1
        assert steps < 8
    peak = torch.tensor(torch.unravel_index(volume.argmax(), volume.shape)) - 16
    assert peak.abs().max() <= 1


def test_an_empty_map_stays() -> None:
    assert towards_centre(torch.zeros(8, 8, 8)) == (0, 0, 0)
    assert towards_centre(torch.full((8, 8, 8), -1.0)) == (0, 0, 0)
