"""Figures of metrics, derived again from the tables that a bundle keeps of them; a changed figure is found."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from cryorepro_metrics.against_truth import _pick_value

from cryorepro.bundle.rederive import _RULES
from cryorepro.em.class_matching import match_classes
from cryorepro.em.pick_matching import match_positions

Value = dict[str, Any]


def test_the_rand_index_is_that_of_all_pairs_of_particles() -> None:
    draw = np.random.default_rng(3)
    first = draw.integers(1, 4, 60)
    second = np.where(draw.random(60) < 0.7, first, draw.integers(1, 4, 60))
    pairs = list(combinations(range(60), 2))
    same_first = np.array([first[i] == first[j] for i, j in pairs])
    same_second = np.array([second[i] == second[j] for i, j in pairs])
    expected = same_first.sum() * same_second.sum() / len(pairs)
    index = ((same_first & same_second).sum() - expected) / ((same_first.sum() + same_second.sum()) / 2 - expected)
    table = match_classes(first, second).table.tolist()
    assert _RULES["adjusted_rand"]({"details": {"confusion": table}}, {}) == pytest.approx(index)


def test_f1_is_derived_from_the_counts_that_the_metric_keeps() -> None:
    found = np.array([[0.0, 0.0], [10.0, 0.0], [50.0, 50.0]])
    true = np.array([[1.0, 0.0], [10.0, 1.0], [30.0, 0.0], [80.0, 0.0]])
    value = _pick_value([match_positions(found, true, 5.0)], 5.0).model_dump(mode="json")
    assert _RULES["pick_f1"](value, {}) == pytest.approx(4 / 7) == value["value"]
    value["details"]["matched"] = 5
    assert _RULES["pick_f1"](value, {}) == np.inf, "more matched than there are"


DERIVED: list[tuple[str, Value, float]] = [
    (
        "local_resolution",
        {"box_px": 64, "pixel_size_angstrom": 2.0,
         "details": {"quantile": 0.9, "quantiles_angstrom": {"0.5": 8.0, "0.9": 16.0}}},
        8.0,
    ),
    ("conical_fsc_ratio", {"details": {"areas_lowest_highest": [3.0, 12.0]}}, 0.25),
    ("conical_fsc_ratio", {"details": {"areas_lowest_highest": [0.0, 0.0]}}, 0.0),
    ("half_set_provenance", {"details": {"noise_correlation": [[0.5, 0.1], [0.2, 0.4]]}}, 0.4),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "value", "expected"), DERIVED, ids=[f"{row[0]}-{row[2]:g}" for row in DERIVED])
def test_other_tables(metric: str, value: Value, expected: float) -> None:
    assert _RULES[metric](value, {}) == pytest.approx(expected)
