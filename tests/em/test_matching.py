"""Picks, classes, trajectories and poses held against each other: closed forms and exhaustive search."""

from __future__ import annotations

import csv
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from cryorepro.em.class_matching import match_classes
from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star
from cryorepro.em.pick_matching import match_positions
from cryorepro.em.pose_comparison import compare_poses
from cryorepro.em.symmetry import symmetry_matrices
from cryorepro.em.trajectories import path_length, rms_distance
from tests.em.real_data import real_data

points = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=5)


def exhaustive(found: np.ndarray, true: np.ndarray, limit: float) -> tuple[int, float]:
    """Most pairs within the limit, and the smallest sum of distances among such matchings."""
    few, many = (found, true) if len(found) <= len(true) else (true, found)
    distance = np.linalg.norm(few[:, None] - many[None], axis=2)
    best = (0, 0.0)
    for columns in permutations(range(len(many)), len(few)):
        chosen = [distance[i, j] for i, j in enumerate(columns) if distance[i, j] <= limit]
        best = max(best, (len(chosen), -sum(chosen)))
    return best[0], -best[1]


@settings(max_examples=60, deadline=None)
@given(points, points, st.floats(0.5, 6.0))
def test_matching_is_the_best_there_is(found: list[tuple[int, int]], true: list[tuple[int, int]], limit: float) -> None:
    a, b = (np.array(rows, dtype=float).reshape(-1, 2) for rows in (found, true))
    match = match_positions(a, b, limit)
    count, cost = exhaustive(a, b, limit) if len(a) and len(b) else (0, 0.0)
    assert len(match.pairs) == count
    assert match.distances.sum() == pytest.approx(cost, abs=1e-9)
    assert len(set(match.pairs[:, 0])) == len(set(match.pairs[:, 1])) == count


def test_precision_recall_and_f1_are_their_ratios() -> None:
    found = np.array([[0, 0], [10, 0], [50, 50], [0.5, 0]], dtype=float)
    match = match_positions(found, np.array([[0, 1], [10, 1], [90, 90]], dtype=float), 2.0)
    assert (match.precision, match.recall) == (2 / 4, 2 / 3)
    assert match.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    with pytest.raises(InputError, match="finite"):
        match_positions(np.array([[np.nan, 0.0]]), found, 1.0)


labels = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=14)


@settings(max_examples=80, deadline=None)
@given(labels)
def test_adjusted_rand_counts_pairs(rows: list[tuple[int, int]]) -> None:
    """By its definition: pairs together in both divisions, corrected for chance."""
    first, second = (np.array([row[i] for row in rows]) for i in (0, 1))
    together = [(first[i] == first[j], second[i] == second[j]) for i, j in combinations(range(len(rows)), 2)]
    both = sum(a and b for a, b in together)
    left, right = sum(a for a, _ in together), sum(b for _, b in together)
    expected = left * right / len(together) if together else 0.0
    largest = (left + right) / 2
    index = (both - expected) / (largest - expected) if largest != expected else 1.0
    assert match_classes(first, second).adjusted_rand_index == pytest.approx(index)


def test_classes_are_matched_whatever_their_numbers_and_leftovers_count() -> None:
    first = np.array([1] * 6 + [2] * 3 + [7] * 1)
    second = np.array([5] * 6 + [4] * 4)
    match = match_classes(first, second)
    assert set(match.pairs) == {(1, 5), (2, 4)}
    assert match.agreement == 0.9
    assert match.occupancies == ({1: 0.6, 2: 0.3, 7: 0.1}, {4: 0.4, 5: 0.6})
    assert match.largest_occupancy_difference == pytest.approx(0.1)
    assert match_classes(first, first + 10).adjusted_rand_index == 1.0
    with pytest.raises(InputError):
        match_classes(first, second[:3])


def test_a_constant_between_trajectories_is_no_difference() -> None:
    track = np.cumsum(np.random.default_rng(1).normal(size=(20, 2)), axis=0)
    assert rms_distance(track, track + [7.0, -3.0]) == pytest.approx(0.0, abs=1e-12)
    swing = np.stack([np.cos(np.linspace(0, 2 * np.pi, 20, endpoint=False)), np.zeros(20)], axis=1)
    assert rms_distance(track, track + swing) == pytest.approx(np.sqrt(0.5))
    assert path_length(np.array([[0, 0], [3, 4], [3, 4.0]])) == 5.0
    with pytest.raises(InputError, match="shape"):
        rms_distance(track, track[:5])


@pytest.mark.parametrize("group", ["C1", "C4", "D2", "O"])
def test_a_common_turn_and_shift_is_taken_out_under_symmetry(group: str) -> None:
    rng = np.random.default_rng(4)
    operators = symmetry_matrices(group)
    first = Rotation.random(80, random_state=3).as_matrix()
    turn = Rotation.from_rotvec([0.05, -0.08, 0.06]).as_matrix()
    chosen = operators[rng.integers(0, len(operators), 80)]
    jitter = Rotation.from_rotvec(np.radians(rng.normal(0, 1.0, (80, 3)))).as_matrix()
    second = jitter @ first @ chosen @ turn
    origins = rng.normal(0, 5, (80, 2))
    move = np.array([4.0, -2.0, 3.0])
    moved = origins + (second[:, :2] @ move) + rng.normal(0, 0.5, (80, 2))
    found = compare_poses(first, second, origins, moved, operators)
    # |jitter| is chi-distributed with three degrees of freedom: its median is 1.538 sigma
    assert np.median(found.angle_degrees) == pytest.approx(1.538, abs=0.35)
    assert found.frame_angle_degrees == pytest.approx(np.degrees(np.linalg.norm([0.05, -0.08, 0.06])), abs=0.6)
    assert np.median(found.shift_angstrom) == pytest.approx(0.5 * 1.177, abs=0.2)
    assert np.median(compare_poses(first, second, origins, moved, operators, find_frame=False).angle_degrees) > 4.0


def test_random_poses_stay_far_apart_and_a_mirror_image_is_no_frame() -> None:
    first, other = (Rotation.random(200, random_state=s).as_matrix() for s in (1, 2))
    zero, c1 = np.zeros((200, 2)), symmetry_matrices("C1")
    assert np.median(compare_poses(first, other, zero, zero, c1).angle_degrees) > 90.0
    flip = np.diag([1.0, 1.0, -1.0])
    assert np.median(compare_poses(first, flip @ first @ flip, zero, zero, c1).angle_degrees) > 60.0


def test_two_sets_of_real_picks_match_as_often_as_a_flow_can() -> None:
    """beta-galactosidase: RELION's picks against an expert's; the number of pairs is that of Hopcroft and Karp."""
    expert: dict[str, list[tuple[float, float]]] = {}
    with real_data("bgal_EMPIAR-10017", "expert_picks.csv").open() as stream:
        for row in csv.DictReader(stream):
            expert.setdefault(row["micrograph"], []).append((float(row["x_px"]), float(row["y_px"])))
    block = next(iter(read_star(real_data("bgal_EMPIAR-10017", "relion_ap_s_c2d.star")).values()))
    names = np.array([Path(name).stem for name in block.text("rlnMicrographName")])
    x, y = block.numbers("rlnCoordinateX"), block.numbers("rlnCoordinateY")
    registered = np.stack([2 * x + 100, 4096 - 2 * y - 100], axis=1)
    unflipped = np.stack([2 * x + 100, 2 * y + 100], axis=1)
    recalls: dict[str, list[float]] = {"registered": [], "unflipped": []}
    for micrograph, rows in expert.items():
        true, chosen = np.array(rows), np.array([micrograph in name or name in micrograph for name in names])
        if not chosen.any():
            continue
        match = match_positions(registered[chosen], true, 50.0)
        near = cdist(registered[chosen], true) <= 50.0
        assert len(match.pairs) == (maximum_bipartite_matching(csr_array(near)) >= 0).sum()
        assert (match.distances <= 50.0).all()
        recalls["registered"].append(match.recall)
        recalls["unflipped"].append(match_positions(unflipped[chosen], true, 50.0).recall)
    assert len(recalls["registered"]) == 10, "micrographs that both picked"
    assert np.mean(recalls["registered"]) > np.mean(recalls["unflipped"]) + 0.1
