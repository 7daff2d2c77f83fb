"""Recall and precision of picks against a person's labels, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cryorepro_metrics.labels import LabelPrecision, LabelRecall

from cryorepro.em.errors import InputError
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.tables import AUTOPICK, write_picks
from cryorepro.model.dataset import PreparedData
from cryorepro.plugins.interfaces import MetricContext


def at(*places: tuple[float, float]) -> Picks:
    values = np.ones(len(places))
    return Picks(np.array(places).reshape(-1, 2), values, values, values, np.ones(len(places), np.int64), values)


def context(folder: Path, found: dict[str, Picks], labels: dict[str, Picks] | None) -> MetricContext:
    files = {}
    for role, picks in (("coordinates", found), ("labels", labels)):
        if picks is not None:
            (folder / role).mkdir()
            write_picks(folder / role, list(picks), list(picks.values()), {})
            files[role] = folder / role / AUTOPICK
    data = PreparedData(
        files={"labels": files["labels"]} if labels else {}, pixel_size_angstrom=2.0, voltage_kv=300.0, origin="drawn",
        parameters={"particle_diameter_angstrom": 80.0},
    )  # fmt: skip
    return MetricContext(
        artifacts={"coordinates": files["coordinates"]}, data=data, truth={}, stage_parameters={}, numbers={}
    )


def test_pairs_are_counted_within_a_quarter_of_the_diameter_by_file_name(tmp_path: Path) -> None:
    found = {"sums/a.mrc": at((10, 10), (50, 50), (90, 10)), "sums/b.mrc": at((5, 5)), "sums/c.mrc": at((1, 1))}
    labels = {"labels/a.mrc": at((13, 14), (50, 61), (200, 200), (90, 10)), "labels/b.mrc": at((5, 5))}
    measured = context(tmp_path, found, labels)
    recall, precision = LabelRecall().measure(measured), LabelPrecision().measure(measured)
    assert recall.details["within_px"] == 10.0
    # (50, 61) is 11 pixels away; c has no labels and does not count
    assert recall.value == pytest.approx(3 / 5) and precision.value == pytest.approx(3 / 4)
    assert recall.details["worst_micrograph"] == pytest.approx(2 / 4)
    assert precision.details["worst_micrograph"] == pytest.approx(2 / 3)
    assert recall.details["micrographs"] == 2


def test_without_labels_or_common_micrographs_nothing_is_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labels"):
        LabelRecall().measure(context(tmp_path, {"a.mrc": at((1, 1))}, None))
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InputError, match="no micrograph with labels"):
        LabelPrecision().measure(context(other, {"a.mrc": at((1, 1))}, {"b.mrc": at((1, 1))}))
