"""Canonical digests: what may differ does not count, what matters does."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.canonical import canonical


def mrc(path: Path, data: np.ndarray, label: str, pixel: float = 2.0) -> Path:
    with mrcfile.new(path, overwrite=True) as handle:
        handle.set_data(data.astype(np.float32))
        handle.voxel_size = pixel
        handle.add_label(label)
    return path


def test_labels_of_an_mrc_file_do_not_count_but_voxels_and_size_do(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(4, 4, 4))
    first = mrc(tmp_path / "a.mrc", data, "made on Monday")
    second = mrc(tmp_path / "b.mrc", data, "made on Tuesday")
    assert first.read_bytes() != second.read_bytes()
    assert canonical(first) == canonical(second)
    assert "labels (number and text)" in canonical(first).excluded
    assert canonical(mrc(tmp_path / "c.mrc", data, "made on Monday", 2.1)).sha256 != canonical(first).sha256
    data[0, 0, 0] += 1e-5
    assert canonical(mrc(tmp_path / "d.mrc", data, "made on Monday")).sha256 != canonical(first).sha256


def test_comments_and_columns_order_of_a_star_file_do_not_count(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.star" for name in "abc")
    first.write_text("# version 30001\ndata_particles\nloop_\n_rlnA #1\n_rlnB #2\n1.5 x\n2.5 y\n")
    second.write_text("# written by hand\n\ndata_particles\n\nloop_\n_rlnB #1\n_rlnA #2\nx   1.5\ny   2.5\n\n")
    third.write_text(first.read_text().replace("2.5", "2.6"))
    assert canonical(first).sha256 == canonical(second).sha256 != canonical(third).sha256


def test_times_in_json_do_not_count_and_other_files_count_byte_by_byte(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text(json.dumps({"created_at": "today", "x": [1, {"pid": 4}]}))
    second.write_text(json.dumps({"x": [1, {"pid": 5}], "created_at": "tomorrow"}))
    assert canonical(first).sha256 == canonical(second).sha256
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("one \n")
    assert canonical(tmp_path / "a.txt").sha256 != canonical(tmp_path / "b.txt").sha256
    second.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        canonical(second)
    (tmp_path / "x.mrc").write_bytes(b"short")
    with pytest.raises(InputError, match="not an MRC"):
        canonical(tmp_path / "x.mrc")
