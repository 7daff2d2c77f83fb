"""Twins of movies: files as the deposits', the truth in them, the same bytes from the same seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cryorepro_datasets.archive_entries import EMPIAR_10288
from cryorepro_datasets.entry_file import load_entry
from scipy.ndimage import maximum_filter, uniform_filter

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.movie_twin.motion import TERMS
from cryorepro.em.movies.checking import check_movies
from cryorepro.em.movies.eer_writer import events_of_counts, write_movie_eer
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.movies.table import read_movie_table
from cryorepro.model.dataset import DataRequest
from tests.movie_twins import SmallTwin, small_twin


@pytest.fixture(scope="module")
def barrel(tmp_path_factory: pytest.TempPathFactory) -> SmallTwin:
    return small_twin(tmp_path_factory.mktemp("barrel"), "empiar-10025")


def test_the_list_names_every_movie_and_the_odd_one_is_set_aside(movie_twin: SmallTwin) -> None:
    table = read_movie_table(movie_twin.data.files["movies"])
    assert len(table.paths) == movie_twin.data.rows["movies"] == 4
    assert table.groups[0].pixel_size_angstrom == 1.72 and table.groups[0].spherical_aberration_mm == 2.7
    checked = check_movies(table.paths)
    assert checked.shape == (512, 512) and checked.frames == 10 and len(checked.usable) == 3
    errata = load_entry("empiar-10288").errata[0].files
    assert [table.paths[row].name in errata for row in checked.aside] == [True]
    assert next(iter(checked.aside.values())).fault == "odd_shape"
    with tifffile.TiffFile(movie_twin.movies[0]) as file:
        assert int(file.pages[0].compression) == 5 and str(file.pages[0].dtype) == "uint8"  # 5 is LZW


def test_every_file_of_a_run_is_named_so_that_it_is_hashed(movie_twin: SmallTwin) -> None:
    folder = movie_twin.data.files["movies"].parent
    there = {path for path in folder.rglob("*") if path.is_file()}
    assert there == set(movie_twin.data.files.values())
    assert all(path.is_file() and folder not in path.parents for path in movie_twin.truth.values())
    recorded = json.loads(movie_twin.data.files["manifest"].read_text())
    assert recorded["frames"] == 10 and "truth" not in json.dumps(recorded)


def test_the_gain_is_upside_down_and_fits_once_turned(movie_twin: SmallTwin, barrel: SmallTwin) -> None:
    """Turned, it takes the pixels' own pattern out of the mean frame; as stored, it adds another."""
    for twin in (movie_twin, barrel):
        counts = np.mean([open_movie(path).read_all().mean(axis=0) for path in twin.movies], axis=0)
        if twin is movie_twin:
            counts = counts[::-1]  # TIFF is turned by whoever reads it
        gain = twin.gain()
        bad = (gain == 0) | (gain[::-1] == 0) | (counts > 1.5 * np.median(counts))
        good = ~maximum_filter(bad, 7)
        pattern = _fine(np.where(bad, 1.0, gain))

        def slope(used: np.ndarray, counts: np.ndarray, good: np.ndarray, pattern: np.ndarray) -> float:
            left = _fine(counts * used)
            return float((left * pattern)[good].mean() / counts.mean() / pattern[good].var())

        assert abs(slope(gain, counts, good, pattern)) < 0.05
        assert slope(gain[::-1], counts, good, pattern) < -0.8


def _fine(image: np.ndarray) -> np.ndarray:
    """What is left of an image without its local mean: of particles next to nothing."""
    return np.asarray(image - uniform_filter(image, 3))


@pytest.mark.parametrize("name", ["empiar-10288", "empiar-10025"])
def test_particles_are_where_and_move_as_the_truth_says(name: str, movie_twin: SmallTwin, barrel: SmallTwin) -> None:
    """The mean of all particles, cut out at the true place in each frame, stands out more than at any other place."""
    twin = movie_twin if name == "empiar-10288" else barrel
    ways = ("moved", "still", "mirrored", "beside")
    means = {way: np.zeros((48, 48)) for way in ways}
    for path in twin.movies:
        motion, positions = twin.motion(path.stem), twin.positions(path.stem)
        inside = positions[((positions > 48) & (positions < 464)).all(axis=1)]
        for frame, moved in zip(twin.frames(path), motion.displacement(inside), strict=True):
            frame = frame / frame.mean() - 1.0
            places = {"moved": inside + moved, "still": inside, "beside": inside + moved + (6.0, -4.0)}
            places["mirrored"] = (inside + moved) * (1.0, -1.0) + (0.0, 511.0)
            for way, points in places.items():
                for x, y in np.rint(points).astype(int):
                    means[way] += frame[y - 24 : y + 24, x - 24 : x + 24]
    y, x = np.indices((48, 48)) - 24
    rings = {way: _ring_power(image, np.rint(0.5 * np.hypot(x, y)).astype(int)) for way, image in means.items()}
    assert rings["moved"] == max(rings.values())
    assert rings["moved"] > 1.1 * rings["still"] and rings["moved"] > 1.5 * rings["mirrored"]


def _ring_power(image: np.ndarray, ring: np.ndarray) -> float:
    """Variance of the mean over rings about the middle: what is common to particles in all orientations."""
    means = np.bincount(ring.ravel(), image.ravel()) / np.bincount(ring.ravel())
    return float(means[:12].var())


def test_the_truth_has_all_that_metrics_need(movie_twin: SmallTwin) -> None:
    assert movie_twin.table("trajectories").row_count == 3 * 10
    assert movie_twin.table("defocus").row_count == 3
    particles = movie_twin.table("particles")
    assert particles.row_count == 3 * 22
    motion = movie_twin.motion(movie_twin.stems[0])
    assert motion.field_px.shape == (10, 2, TERMS) and not motion.field_px[0].any() and motion.field_px[-1].any()
    maps = {role: read_map(movie_twin.truth[role]) for role in ("map", "protein", "mask")}
    assert all(volume.shape == (96,) * 3 and pixel == pytest.approx(1.72) for volume, pixel in maps.values())
    mask = maps["mask"][0]
    belt = maps["map"][0] - maps["protein"][0]
    assert mask.min() >= 0.0 and mask.max() == 1.0
    # the belt is beside the protein, not in it, and not negligible
    assert belt[mask > 0.9].std() < 0.05 * maps["protein"][0][mask > 0.9].std()
    assert belt.sum() > 0.2 * maps["protein"][0].sum()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    small: dict[str, Any] = {"odd_movies": 1, "frames": 3, "particles_per_movie": 4}
    small |= {"movies": 1, "rows_px": 256, "columns_px": 256, "belts": 1, "model_box_px": 80, "box_px": 80}
    first, again, other = (
        small_twin(tmp_path / str(number), seed=seed, **small) for number, seed in enumerate((5, 5, 6))
    )
    for role, path in {**first.data.files, **first.truth}.items():
        twin_path = {**again.data.files, **again.truth}[role]
        assert path.read_bytes() == twin_path.read_bytes(), role
    assert first.movies[0].read_bytes() != other.movies[0].read_bytes()


def test_a_movie_of_each_as_eer(movie_twin: SmallTwin, barrel: SmallTwin, tmp_path: Path) -> None:
    """The counts of the first two frames, spread over detector frames, come back in fractions."""
    random = np.random.default_rng(1)
    for number, twin in enumerate((movie_twin, barrel)):
        counts = open_movie(twin.movies[0]).read_all()[:2, :256, :256]
        events = [part for frame in counts for part in events_of_counts(frame, 128, random)]
        path = tmp_path / f"{number}.eer"
        write_movie_eer(path, events, (256, 256))
        with open_movie(path, eer_fractions=2) as movie:
            np.testing.assert_array_equal(movie.read_all(), counts)


def test_bad_parameters_are_refused_by_name(tmp_path: Path) -> None:
    def prepare(**parameters: object) -> None:
        EMPIAR_10288.prepare(
            DataRequest(
                tier="twin", directory=tmp_path / "d", truth_directory=tmp_path / "t", seed=1,
                parameters=dict(parameters),
            )
        )  # fmt: skip

    with pytest.raises(InputError, match="empiar-10288 twin: parameter frames"):
        prepare(frames=1)
    with pytest.raises(InputError, match="empiar-10288 twin: parameter colour"):
        prepare(colour=1)
    with pytest.raises(InputError, match="empiar-10288 twin: .*highest_defocus_angstrom must exceed"):
        prepare(highest_defocus_angstrom=7000)
    with pytest.raises(InputError, match="do not fit"):
        prepare(rows_px=256, columns_px=256, particles_per_movie=100, movies=1, belts=0)


def test_the_deposited_model_is_used_where_it_is_at_hand(real_data: Path, tmp_path: Path) -> None:
    tiny = {"movies": 1, "odd_movies": 0, "rows_px": 256, "columns_px": 256, "frames": 2, "particles_per_movie": 3}
    request = DataRequest(
        tier="twin", directory=tmp_path / "d", truth_directory=tmp_path / "t", seed=1,
        local_path=real_data / "models", parameters={**tiny, "belts": 0},
    )  # fmt: skip
    prepared = EMPIAR_10288.prepare(request)
    assert "PDB 6N4B (6n4b.pdb)" in prepared.origin
    named = request.model_copy(
        update={"local_path": None, "parameters": {**request.parameters, "model": real_data / "models" / "6n4b.pdb"}}
    )
    again = EMPIAR_10288.prepare(named)
    assert again.parameters["model"] == "6n4b.pdb"  # no folder of a person's machine
    assert again.files["movie_001"].read_bytes() == prepared.files["movie_001"].read_bytes()
    with pytest.raises(InputError, match="holds no model of PDB 6N4B"):
        EMPIAR_10288.prepare(request.model_copy(update={"local_path": tmp_path}))
