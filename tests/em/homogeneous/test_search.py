"""Branch and bound finds what the true poses say, and its bound holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from cryorepro.em.half_sets import random_halves
from cryorepro.em.homogeneous.bounds import possible_gain
from cryorepro.em.homogeneous.candidates import Candidates, first_of_each, keep_best
from cryorepro.em.homogeneous.levels import make_levels
from cryorepro.em.homogeneous.options import HomogeneousOptions
from cryorepro.em.homogeneous.posterior import pose_weights
from cryorepro.em.homogeneous.refinement import half_model, start
from cryorepro.em.homogeneous.regularise import Frame
from cryorepro.em.homogeneous.scores import score_poses, weighted_images
from cryorepro.em.homogeneous.search import SearchModel, child_matrices, search
from cryorepro.em.imageset import Poses
from cryorepro.em.preparation import Prepared, prepare
from cryorepro.em.rotations import euler_to_matrix, random_rotations, rotation_angle_deg
from tests.em.simulated import simulated_set

COUNT, BOX, PIXEL = 60, 48, 10.0


@dataclass(frozen=True)
class Case:
    """A search of particles whose poses are known, against their own particle."""

    model: SearchModel
    images: Prepared
    truth: Candidates


@pytest.fixture(scope="module")
def case() -> Case:
    torch.set_num_threads(1)
    data = simulated_set(COUNT, BOX, PIXEL, snr=0.1, shift_px=1.0, shares=(1.0, 0.0, 0.0))
    images = data.image_set()
    options = HomogeneousOptions(320.0, torch.eye(3, dtype=torch.float64)[None], later_shift_range_px=4.5)
    state = start(images, Poses.start(COUNT), [data.volume(0).numpy()], random_halves(COUNT, 1), options, 24.0, 1)
    state = replace(state, refinement=replace(state.refinement, iteration=1))
    model = half_model(images, state, state.refinement.halves[0], options, Frame(BOX, PIXEL, BOX // 2))
    prepared = prepare(images, state.refinement.poses, torch.arange(COUNT), model.preparation)
    matrices = euler_to_matrix(torch.from_numpy(data.views.angles_degrees))
    shifts = torch.from_numpy(-data.views.shifts_angstrom / PIXEL)
    truth = Candidates(torch.arange(COUNT), matrices, shifts, torch.zeros(COUNT))
    return Case(model.search, prepared, truth)


def _scores(case: Case, radius: int) -> torch.Tensor:
    data = weighted_images(case.model.plane, case.images, torch.ones(COUNT), any_scale=False)
    return score_poses(case.model.projector, data, case.truth, radius).scores


def test_hardly_any_pose_scores_less_than_the_true_one(case: Case) -> None:
    found = search(case.model, case.images, torch.ones(COUNT)).candidates
    best = found.select(first_of_each(found))
    error = rotation_angle_deg(best.matrices, case.truth.matrices)
    assert float((error < 5.0).float().mean()) > 0.95
    # the last grid has steps: its best point lies a little below the best pose
    assert float((best.scores < 0.95 * _scores(case, case.model.levels[-1].radius)).float().mean()) < 0.03


def test_the_bound_holds_for_the_true_pose_on_every_level(case: Case) -> None:
    """No shell that a level leaves out adds more than the bound says: else the best pose could be thrown away."""
    last = _scores(case, case.model.levels[-1].radius)
    gains = possible_gain(case.images, torch.ones(COUNT), case.model.plane, case.model.shell_power, case.model.levels)
    for number, level in enumerate(case.model.levels):
        assert float((last > _scores(case, level.radius) + gains[:, number] + 1e-3).float().mean()) <= 0.02


def test_the_bound_saves_work_and_an_earlier_pose_saves_more(case: Case) -> None:
    unbounded = replace(case.model, shell_power=case.model.shell_power * 1e6)
    scale = torch.ones(COUNT)
    everything, bounded = (search(model, case.images, scale).scored for model in (unbounded, case.model))
    known = search(case.model, case.images, scale, case.truth).scored
    assert bounded < everything and known < bounded + COUNT * 8 * len(case.model.levels)


def test_the_best_pose_does_not_depend_on_which_other_images_are_searched(case: Case) -> None:
    rows = torch.arange(0, COUNT, 7)
    alone = search(case.model, case.images.select(rows), torch.ones(len(rows))).candidates
    together = search(case.model, case.images, torch.ones(COUNT)).candidates
    best = together.select(first_of_each(together)).select(rows)
    torch.testing.assert_close(alone.select(first_of_each(alone)).matrices, best.matrices)


def test_shares_of_poses_sum_to_one_and_the_best_has_the_largest(case: Case) -> None:
    wide = replace(case.model, levels=(*case.model.levels[:-1], replace(case.model.levels[-1], keep=16)))
    found = search(replace(wide, spread_nats=8.0), case.images, torch.ones(COUNT)).candidates
    data = weighted_images(case.model.plane, case.images, torch.ones(COUNT), any_scale=False)
    weights = pose_weights(case.model.projector, data, found, wide.levels[-1])
    total = torch.zeros(COUNT).index_add_(0, weights.poses.image, weights.shares)
    torch.testing.assert_close(total, torch.ones(COUNT))
    largest = torch.zeros(COUNT).scatter_reduce_(0, weights.poses.image, weights.shares, "amax")
    assert bool((weights.best_share <= largest + 1e-6).all())


def test_children_cover_their_cell() -> None:
    parent = random_rotations(1, torch.Generator().manual_seed(2))
    children = child_matrices(parent, 8.0)[0]
    away = rotation_angle_deg(children, parent)
    torch.testing.assert_close(away, torch.full((8,), 2.0 * np.sqrt(3.0), dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert float(rotation_angle_deg(children[:1], children[1:]).min()) == pytest.approx(4.0, abs=0.05)


def test_levels_look_farther_out_as_they_become_finer_and_end_when_fine_enough() -> None:
    levels = make_levels(64, 40.0, 24, 2, 2.0)
    assert [level.step_deg for level in levels] == [15.0 / 2**n for n in range(len(levels))]
    assert [level.radius for level in levels] == sorted(level.radius for level in levels)
    assert levels[-1].radius == 24 and levels[-1].keep == 1
    rim = np.pi / 64 * 40.0 * 24 * np.deg2rad(levels[-1].step_deg) / 2
    assert rim < 0.5 < 2 * rim


def test_the_best_of_each_image_stays_whatever_the_threshold() -> None:
    image = torch.tensor([0, 0, 1, 1, 1])
    scores = torch.tensor([1.0, 3.0, 2.0, 5.0, 4.0])
    found = Candidates(image, torch.zeros(5, 3, 3), torch.zeros(5, 2), scores)
    assert keep_best(found, torch.tensor([10.0, 3.5]), 2).scores.tolist() == [3.0, 5.0, 4.0]
    assert keep_best(found, torch.tensor([0.0, 0.0]), 1).scores.tolist() == [3.0, 5.0]
