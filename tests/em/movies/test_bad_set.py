"""Motion correction of a folder with every kind of bad movie in it, as a stage's own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from cryorepro.em.formats.star import read_star
from cryorepro.em.movies.eer_writer import events_of_counts, write_movie_eer
from cryorepro.em.movies.table import MovieGroup, list_directory, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from cryorepro.em.reextraction import read_micrograph

SHAPE, FRAMES = (96, 128), 6
ASIDE = {
    "cut.tif": "truncated", "damaged.tif": "frame 4 cannot be decoded", "lost_frame.eer": "5 frames, most have 6",
    "missing.tif": "No such file", "nan.mrc": "NaN", "notes.txt": "neither a TIFF, an EER nor an MRC file",
    "short.tif": "5 frames, most have 6",
    "wide.tif": "most have", "zeros.tif": "every frame is zero",
}  # fmt: skip


def frames(seed: int, count: int = FRAMES, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    stream = np.random.default_rng(seed)
    scene = np.repeat(np.repeat(stream.uniform(2.0, 8.0, (shape[0] // 4, shape[1] // 4)), 4, axis=0), 4, axis=1)
    return np.minimum(stream.poisson(np.stack([scene] * count)), 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    for number in range(3):
        write_movie_tiff(folder / f"good{number}.tif", frames(number))
    write_movie_tiff(folder / "cut.tif", frames(3))
    (folder / "cut.tif").write_bytes((folder / "cut.tif").read_bytes()[:20_000])
    write_movie_tiff(folder / "damaged.tif", frames(4))
    with tifffile.TiffFile(folder / "damaged.tif") as file:
        inside = file.pages[3].aspage().dataoffsets[0] + 500
    raw = bytearray((folder / "damaged.tif").read_bytes())
    raw[inside : inside + 200] = bytes([255]) * 200
    (folder / "damaged.tif").write_bytes(raw)
    stream = np.random.default_rng(5)
    events = [each for frame in frames(5, 5) for each in events_of_counts(np.minimum(frame, 1), 1, stream)]
    write_movie_eer(folder / "lost_frame.eer", events, SHAPE)
    nan = frames(6).astype(np.float32)
    nan[3, 5, 5] = np.nan
    write_movie_mrc(folder / "nan.mrc", nan, 2)
    (folder / "notes.txt").write_text("grid 3 was thick\n" * 100)
    write_movie_tiff(folder / "short.tif", frames(7, 5))
    write_movie_tiff(folder / "wide.tif", frames(8, shape=(96, 132)))
    write_movie_tiff(folder / "zeros.tif", np.zeros((FRAMES, *SHAPE), dtype=np.uint8))
    names = [path.name for path in list_directory(folder)]
    write_movie_table(folder / "movies.star", [*names, "missing.tif"], MovieGroup(300.0, 2.7, 0.1, 1.0))
    write_movie_mrc(folder / "narrow_gain.mrc", np.ones((1, 96, 96), dtype=np.float32), 2)
    return folder


def correct(folder: Path, output: Path, gain: str | None = None) -> subprocess.CompletedProcess[str]:
    output.mkdir()
    inputs = {"movies": str(folder / "movies.star")} | ({"gain": str(folder / gain)} if gain else {})
    parameters = {"patches_x": 1, "patches_y": 1}
    request: dict[str, Any] = {
        "stage": "motion", "kind": "motioncorrection", "parameters": parameters, "inputs": inputs,
        "output_dir": str(output), "seed": 1, "threads": 2,
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "cryorepro_engines.programs.motioncorrection",
        "--request-json",
        json.dumps(request),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def test_bad_movies_are_named_and_the_rest_is_corrected(folder: Path, tmp_path: Path) -> None:
    done = correct(folder, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    table = read_star(tmp_path / "out" / "set_aside.star")["set_aside"]
    reasons = dict(zip(table.text("rlnMicrographMovieName"), table.text("cryoreproReason"), strict=True))
    assert sorted(reasons) == sorted(ASIDE)
    for name, words in ASIDE.items():
        assert words in reasons[name], reasons[name]
        assert name in reasons[name]
        assert f"{name}: set aside" in done.stdout
    kept = read_star(tmp_path / "out" / "corrected_micrographs.star")["micrographs"].text("rlnMicrographName")
    assert sorted(Path(name).stem for name in kept) == ["good0", "good1", "good2"]
    for name in kept:
        micrograph = read_micrograph(tmp_path / "out" / name)
        assert micrograph.shape == SHAPE
        assert micrograph.std() > 0


def test_a_gain_of_the_wrong_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    done = correct(folder, tmp_path / "out", "narrow_gain.mrc")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "narrow_gain.mrc: the gain reference has 96 x 96 pixels" in done.stderr
    assert "the movie's frames have 96 x 128." in done.stderr
