"""A list of movies on a device that only pretends to be a GPU: decoded ahead or not, the files are the CPU's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cryorepro.em.devices.choice import CPU
from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star
from cryorepro.em.motion import decoded, dose, footprint, job, reduced, scoring
from cryorepro.em.motion.correct import MotionSettings
from cryorepro.em.motion.footprint import bytes_besides_frames, bytes_for_frames
from cryorepro.em.motion.job import Exposure, MotionJob, correct_movies
from cryorepro.em.movies.checking import SET_ASIDE, MovieCheck
from cryorepro.em.movies.eer_writer import events_of_counts, write_movie_eer
from cryorepro.em.movies.table import MovieGroup, read_movie_table, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from tests.em.devices.pretend import GPU, pretend_gpu
from tests.em.motion.moving import MovingScene

GROUP = MovieGroup(300.0, 2.7, 0.1, 1.5)
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""The C library gives memory back as soon as it is free: what is resident is what is in use."""
NAMES = ["a.mrcs", "b.tif", "hole.mrcs", "zeros.mrcs", "c.tif"]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("movies")
    movies = {name: MovingScene(size=256, frames=6, rate=3.0, contrast=0.3, seed=seed).movie()
              for seed, name in enumerate("abc")}  # fmt: skip
    write_movie_mrc(home / "a.mrcs", movies["a"], 1)
    for name in "bc":
        write_movie_tiff(home / f"{name}.tif", movies[name], "lzw")
    hole = movies["a"].copy()
    hole[4] = 0
    write_movie_mrc(home / "hole.mrcs", hole, 1)
    write_movie_mrc(home / "zeros.mrcs", 0 * hole, 1)
    write_movie_table(home / "movies.star", NAMES, GROUP)
    return home / "movies.star"


@pytest.fixture(autouse=True)
def _device(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU has free is not to be asked of one that is not there; parts are the CPU's, for the same bits."""
    monkeypatch.setattr("cryorepro.em.motion.footprint.free_bytes", lambda _device: 1 << 30)
    for module in (scoring, reduced, dose):
        monkeypatch.setitem(module._ROWS, "cuda", module._ROWS["cpu"])


def _done(star: Path, output: Path, device: torch.device, workers: int, **extra: int) -> list[str]:
    said: list[str] = []
    table = read_movie_table(star)
    settings = [MotionSettings(group.pixel_size_angstrom, group.voltage_kv) for group in table.groups]
    gain = np.random.default_rng(5).normal(1.0, 0.03, (256, 256)).clip(0.8).astype(np.float32)
    output.mkdir()
    asked = MotionJob(table, settings, Exposure(12.0), gain, "gain.mrc", said=said.append, **extra)  # type: ignore[arg-type]
    correct_movies(asked, output, workers, device)
    return said


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("decoders", [0, 1, 2])
def test_a_list_is_corrected_on_the_device_and_leaves_the_files_of_the_cpu(
    listed: Path, tmp_path: Path, decoders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if decoders == 0:
        monkeypatch.setattr(job, "affordable_decoders", lambda *_: 0)
    _done(listed, tmp_path / "cpu", CPU, 1)
    with pretend_gpu() as device:
        said = _done(listed, tmp_path / "gpu", GPU, max(1, decoders))
    assert device.operations > 3000
    assert [line.split(":")[0] for line in said] == ["zeros.mrcs", "a.mrcs", "b.tif", "hole.mrcs", "c.tif"]
    ours, theirs = _files(tmp_path / "cpu"), _files(tmp_path / "gpu")
    assert len(ours) == 3 * 4 + 2
    tables = [read_star(tmp_path / where / SET_ASIDE)["set_aside"] for where in ("cpu", "gpu")]
    for table in tables:
        assert table.text("rlnMicrographMovieName") == ["hole.mrcs", "zeros.mrcs"]
    # whole movies are looked at when they are decoded ahead: the fault has its own name there
    assert tables[1].text("cryoreproFault")[0] == ("empty_frame" if decoders else "not_correctable")
    del ours[SET_ASIDE], theirs[SET_ASIDE]
    assert ours == theirs


def test_eer_movies_are_decoded_as_they_are_asked_for(listed: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    counts = MovingScene(size=256, frames=3, rate=2.0, contrast=0.3).movie()
    events = [one for frame in counts for one in events_of_counts(frame, 16, random)]
    write_movie_eer(tmp_path / "e.eer", events, (256, 256))
    write_movie_table(tmp_path / "eer.star", ["e.eer"], GROUP)
    for where, device in (("cpu", CPU), ("gpu", GPU)):
        with pretend_gpu():
            _done(tmp_path / "eer.star", tmp_path / where, device, 1, eer_fractions=3)
    assert _files(tmp_path / "cpu") == _files(tmp_path / "gpu")


def test_decoders_follow_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    check = MovieCheck([0], frames=40, shape=(8184, 11520), most_bytes=40 * 8184 * 11520)

    class Memory:
        available = 40 << 30

    monkeypatch.setattr("cryorepro.em.motion.decoded.psutil.virtual_memory", lambda: Memory)
    assert decoded.affordable_decoders(check, 16) == 5
    assert decoded.affordable_decoders(check, 3) == 3
    Memory.available = 13 << 30
    assert decoded.affordable_decoders(check, 16) == 0


def test_a_super_resolution_movie_needs_less_than_12_gb_and_frames_take_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames, shape = 40, (8184, 11520)
    besides, stored = bytes_besides_frames(frames, shape, 6), frames * shape[0] * shape[1]
    assert besides + stored < 12e9
    monkeypatch.setattr("cryorepro.em.motion.footprint.free_bytes", lambda _device: 24 << 30)
    assert bytes_for_frames(frames, shape, 6, GPU) > stored
    monkeypatch.setattr("cryorepro.em.motion.footprint.free_bytes", lambda _device: 10 << 30)
    assert 0.2 * stored < bytes_for_frames(frames, shape, 6, GPU) < stored


def test_a_list_without_a_usable_movie_is_refused_on_a_device_too(listed: Path, tmp_path: Path) -> None:
    write_movie_table(listed.parent / "hole.star", ["hole.mrcs"], GROUP)
    with pytest.raises(InputError, match=r"none of 1 movies could be corrected.*frame 5 is zero"), pretend_gpu():
        _done(listed.parent / "hole.star", tmp_path / "out", GPU, 1)


@pytest.mark.parametrize(("frames", "least"), [(48, 0.5), (12, 0.35)])
def test_the_model_of_the_memory_holds(frames: int, least: float) -> None:
    rows, columns = 1024, 1536
    command = [sys.executable, "-m", "tests.em.devices.peak_motion", str(rows), str(columns), str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=os.environ | RETURNED)
    found = json.loads(done.stdout)
    # of such small frames every part is whole; three pictures (sum, gain, mended gain) are those of the CPU
    modelled = found["modelled"] - footprint._ALWAYS + 3 * 4 * rows * columns
    assert least < found["measured"] / modelled < 1.05
