"""STAR tables and class maps of two runs: what differs is told in degrees, Angstrom and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryorepro.compare.artifacts.classes import explain_classes
from cryorepro.compare.artifacts.files import compare_files
from cryorepro.compare.artifacts.locate import Artifact
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, write_particles
from tests.em.blobs import PIXEL, blob_map

COUNT = 120


def table(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(8)
    optics = OpticsGroup(
        group=1, name="g", voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1,
        pixel_size_angstrom=PIXEL, box_px=32,
    )  # fmt: skip
    columns: dict[str, Any] = {
        "rlnImageName": np.array([f"{i + 1:06d}@{path.parent.name}/stack.mrcs" for i in range(COUNT)], dtype=object),
        "rlnOpticsGroup": np.ones(COUNT, dtype=np.int64),
        "rlnAngleRot": rng.uniform(-180, 180, COUNT),
        "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1, COUNT))),
        "rlnAnglePsi": rng.uniform(-180, 180, COUNT),
        "rlnOriginXAngst": rng.normal(0, 3, COUNT),
        "rlnOriginYAngst": rng.normal(0, 3, COUNT),
        "rlnClassNumber": rng.integers(1, 4, COUNT),
        "rlnRandomSubset": np.arange(COUNT) % 2 + 1,
    }
    changed = {label: change(columns[label]) for label, change in changes.items()}
    path.parent.mkdir(exist_ok=True)
    write_particles(path, Particles((optics,), columns | changed, "test"))
    return path


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return table(tmp_path / "a" / "run_data.star")


def test_folders_of_file_names_do_not_count(first: Path, tmp_path: Path) -> None:
    found = compare_files("particles", first, table(tmp_path / "b" / "run_data.star"))
    assert found.word == "identical" and "folders of file names" in found.excluded[0]


def test_rounding_of_angles_is_numerical(first: Path, tmp_path: Path) -> None:
    other = table(tmp_path / "b" / "run_data.star", rlnAngleRot=lambda values: values + 1e-5)
    found = compare_files("particles", first, other)
    assert found.word == "numerical" and "rlnAngleRot" in found.reason
    turned = table(tmp_path / "b" / "run_data.star", rlnAnglePsi=lambda values: values + 360.0)
    assert compare_files("particles", first, turned).word == "numerical", "a whole turn is none but for its rounding"


def test_in_plane_angles_shifts_classes_and_halves_are_told(first: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    other = table(
        tmp_path / "b" / "run_data.star",
        rlnAnglePsi=lambda values: values + rng.choice([-8.0, 8.0], COUNT),
        rlnOriginXAngst=lambda values: values + rng.choice([-2.0, 2.0], COUNT),
        rlnClassNumber=lambda values: values % 3 + 1,
        rlnRandomSubset=lambda values: 3 - values,
    )
    found = compare_files("particles", first, other)
    assert found.word == "different"
    assert found.figures["median_angle_degrees"] == pytest.approx(8.0, abs=1.0)
    assert found.figures["median_shift_angstrom"] == pytest.approx(2.0, abs=0.4)
    assert found.figures["adjusted_rand_index"] == 1.0 and found.figures["same_half_fraction"] == 0.0
    assert "half sets exchanged as a whole" in found.reason and "degrees" in found.reason


def test_the_order_of_rows_does_not_count(first: Path, tmp_path: Path) -> None:
    from cryorepro.em.formats.particles import read_particles

    other = tmp_path / "b" / "run_data.star"
    other.parent.mkdir()
    write_particles(other, read_particles(first, require_ctf=False).subset(np.arange(COUNT)[::-1]))
    assert compare_files("particles", first, other).word == "identical"


def test_other_particles_are_told_as_such(first: Path, tmp_path: Path) -> None:
    def renamed(values: Any) -> Any:
        return np.array([f"{i + 11:06d}@b/stack.mrcs" for i in range(COUNT)], dtype=object)

    found = compare_files("particles", first, table(tmp_path / "b" / "run_data.star", rlnImageName=renamed))
    assert found.figures == {"particles_in_common": COUNT - 10} and found.word == "different"


def test_maps_within_rounding_are_numerical_and_what_cannot_be_read_is_unverifiable(tmp_path: Path) -> None:
    volume = blob_map()
    for name, values in (("a", volume), ("b", volume * (1 + 1e-6)), ("c", volume[::-1])):
        write_map(tmp_path / f"{name}.mrc", values, PIXEL)
    write_map(tmp_path / "d.mrc", volume, PIXEL * 1.05)
    (tmp_path / "e.mrc").write_bytes(b"no map")
    words = {name: compare_files("map", tmp_path / "a.mrc", tmp_path / f"{name}.mrc") for name in "abcde"}
    assert [words[name].word for name in "abcde"] == [
        "identical",
        "numerical",
        "different",
        "different",
        "unverifiable",
    ]
    assert "wrong pixel size" in words["d"].reason and "correlation" in words["c"].reason


def test_classes_are_matched_by_their_particles_before_their_maps_are(first: Path, tmp_path: Path) -> None:
    other = table(tmp_path / "b" / "run_data.star", rlnClassNumber=lambda values: values % 3 + 1)
    left, right = {"particles": Artifact(first)}, {"particles": Artifact(other)}
    for number in (1, 2, 3):
        for side, place, own in ((left, "a", number), (right, "b", number % 3 + 1)):
            path = tmp_path / place / f"class{own:03d}.mrc"
            write_map(path, blob_map(seed=number), PIXEL)
            side[f"class{own:03d}"] = Artifact(path)
    (sentence,) = explain_classes(left, right)
    assert sentence.startswith("100.0% of particles agree when classes are matched (adjusted Rand index 1.000")
    assert all(f"class {k} is class {k % 3 + 1} (FSC 0.5 at shell 16 of 16)" in sentence for k in (1, 2, 3))
    assert explain_classes({"particles": Artifact(first)}, right) == []
