"""The engine tests do the work their names say; filters and picking find what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, signal

from cryorepro.workflow.bench.engine import ENGINE_TESTS, engine_tasks, fsc_tasks
from cryorepro.workflow.bench.maps import best_correlation, cross_validated_cutoffs, map_tasks
from cryorepro.workflow.bench.rounds import Policy, carry_out
from cryorepro.workflow.bench.sizes import SIZES

TINY = SIZES["tiny"]


def test_all_fourteen_letters_run_and_find_the_poses(tmp_path: Path) -> None:
    tests = carry_out(engine_tasks(TINY, tmp_path / "e.mrcs", 2, "cpu"), Policy(most=1, fewest=1))
    assert [test.name for test in tests] == [f"engine_{letter}_{name}" for letter, name in ENGINE_TESTS.items()]
    assert len(set(ENGINE_TESTS.values())) == 14
    for test in tests:
        assert test.checks["poses_right"] == 1.0
        assert set(test.sub_seconds) == {"load", "transform", "project", "score", "assign", "insert", "reduce"}
        workers = test.workload["threads"]
        assert sum(test.sub_seconds.values()) <= workers * test.median_seconds, "parts are seconds of workers"
        assert test.device == "cpu"
    threads = {test.tags[1]: test.workload["threads"] for test in tests}
    assert threads == {"single": 1, "multi": 2}


def test_fsc_and_map_tests_run_on_both_halves() -> None:
    tests = carry_out([*fsc_tasks(TINY), *map_tasks(TINY, "cpu")], Policy(most=1, fewest=1))
    names = {test.name for test in tests}
    masks = {"fsc_spherical", "fsc_loose", "fsc_tight", "fsc_noisesub"}
    assert names == masks | {"matched_cv_filter_estimation", "picking"}


def test_the_filter_that_predicts_the_other_half_follows_the_detail_there_is() -> None:
    generator = np.random.default_rng(1)
    box = 32
    noise = [generator.standard_normal((box, box, box)) for _ in range(3)]
    smooth = 30.0 * ndimage.gaussian_filter(noise[0], 4.0, mode="wrap")
    sharp = 3.0 * noise[0]
    medians = []
    for body in (smooth, sharp):
        halves = [torch.from_numpy(body + 0.3 * noise[1 + side]) for side in range(2)]
        medians.append(float(cross_validated_cutoffs(halves[0], halves[1], 8).double().median()))
    assert medians[0] <= 2
    assert medians[1] == 7, "a map with signal everywhere keeps every frequency"


def test_picking_is_scipys_circular_correlation() -> None:
    generator = np.random.default_rng(2)
    image, templates = generator.standard_normal((24, 24)), generator.standard_normal((3, 6, 6))
    found = best_correlation(torch.from_numpy(image), torch.from_numpy(templates)).numpy()
    wrapped = np.pad(image, ((0, 5), (0, 5)), mode="wrap")
    expected = np.max([signal.correlate2d(wrapped, template, mode="valid") for template in templates], axis=0)
    assert np.allclose(found, expected)
