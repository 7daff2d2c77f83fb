"""Which classes a rule keeps, which particles go with them, and that a written selection is replayed exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles
from cryorepro.em.formats.star import make_block, write_star
from cryorepro.em.selection import (
    ClassRow,
    Rule,
    by_rule,
    class_rows,
    read_selection,
    select_particles,
    write_selection,
)

OPTICS = (OpticsGroup(1, "og1", 300.0, 2.7, 0.1, 2.0, 32),)


def _table(classes: list[int]) -> Particles:
    names = np.array([f"{i + 1:06d}@s.mrcs" for i in range(len(classes))], dtype=object)
    ones = np.ones(len(classes), dtype=np.int64)
    columns = {"rlnImageName": names, "rlnOpticsGroup": ones, "rlnClassNumber": np.array(classes, dtype=np.int64)}
    return Particles(OPTICS, columns, "table.star")


def _model(path: Path, resolutions: list[float]) -> Path:
    write_star(path, [make_block("model_classes", {"rlnEstimatedResolution": resolutions})])
    return path


def test_a_rule_keeps_classes_within_every_limit(tmp_path: Path) -> None:
    table = _table([1] * 5 + [2] * 3 + [3] * 1 + [5] * 1)
    rows = class_rows(table, _model(tmp_path / "m.star", [12.0, 30.0, 10.0, 9.0, 11.0]))
    assert [(row.particles, row.fraction) for row in rows] == [(5, 0.5), (3, 0.3), (1, 0.1), (0, 0.0), (1, 0.1)]
    assert by_rule(rows, Rule(worst_resolution_angstrom=12.0), "t") == (1, 3, 5)
    assert by_rule(rows, Rule(smallest_fraction=0.3), "t") == (1, 2)
    assert by_rule(rows, Rule(worst_resolution_angstrom=12.0, largest_classes=2), "t") == (1, 3)
    with pytest.raises(InputError, match="no class keeps"):
        by_rule(rows, Rule(worst_resolution_angstrom=5.0), "t")


def test_particles_go_with_their_class_in_the_tables_order() -> None:
    kept = select_particles(_table([3, 1, 2, 3, 1]), (1, 3))
    assert kept.image_names == [f"{i:06d}@s.mrcs" for i in (1, 2, 4, 5)]


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    table = _table([1, 2, 2])
    with pytest.raises(InputError, match="class 7 is selected but has no particles"):
        select_particles(table, (1, 7))
    with pytest.raises(InputError, match="selected twice"):
        select_particles(table, (1, 1))
    with pytest.raises(InputError, match="needs the classes' model"):
        by_rule(class_rows(table), Rule(worst_resolution_angstrom=8.0), "t")
    with pytest.raises(InputError, match="1 classes, but"):
        class_rows(table, _model(tmp_path / "m.star", [9.0]))
    with pytest.raises(InputError, match="which is no class"):
        class_rows(_table([0, 1]))


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any))
def test_a_selection_reads_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, chosen: list[bool]) -> None:
    path = tmp_path_factory.mktemp("selection") / "selection.star"
    rows = [ClassRow(k + 1, 10, 1.0 / len(chosen), 9.5) for k in range(len(chosen))]
    classes = tuple(row.number for row, mark in zip(rows, chosen, strict=True) if mark)
    write_selection(path, rows, classes, "by list")
    assert read_selection(path) == classes


def test_relions_own_selection_file_is_read(tmp_path: Path) -> None:
    write_star(tmp_path / "backup_selection.star", [make_block("", {"rlnSelected": [0, 1, 1, 0]})])
    assert read_selection(tmp_path / "backup_selection.star") == (2, 3)


@pytest.mark.parametrize(
    ("columns", "words"),
    [({"rlnSelected": [0, 0]}, "no class is selected"), ({"rlnSelected": [2, 0]}, "must be 0 or 1"),
     ({"rlnOther": [1]}, "column rlnSelected is missing")],
    ids=["nothing", "not-a-mark", "not-a-selection"],
)  # fmt: skip
def test_a_malformed_selection_is_refused(tmp_path: Path, columns: dict[str, list[int]], words: str) -> None:
    write_star(tmp_path / "s.star", [make_block("", columns)])
    with pytest.raises(InputError, match=words):
        read_selection(tmp_path / "s.star")
