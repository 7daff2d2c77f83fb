"""What is read and decoded is what was written, and is read from a cold cache."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.workflow.bench import eer
from cryorepro.workflow.bench.files import BenchFiles, make_files, needed_bytes
from cryorepro.workflow.bench.fs import fs_tasks, read_direct, read_particles, read_whole, supports_direct
from cryorepro.workflow.bench.processor import decode_bytes, decode_tasks
from cryorepro.workflow.bench.rounds import Policy, carry_out
from cryorepro.workflow.bench.sizes import SIZES, sizes_named

TINY = SIZES["tiny"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> BenchFiles:
    return make_files(tmp_path_factory.mktemp("bench"), TINY)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 90), st.floats(0, 1), st.integers(0, 2**32))
def test_electron_events_are_what_imagecodecs_decodes(rows: int, columns: int, share: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    frame = generator.random((rows, columns)) < share
    code = eer.encode(frame, generator)
    decoded = imagecodecs.eer_decode(code, (rows, columns), eer.SKIP_BITS, 2, 2)
    assert np.array_equal(decoded.astype(bool), frame)


def test_the_movies_are_what_other_libraries_read(files: BenchFiles) -> None:
    with tifffile.TiffFile(files.eer[0]) as movie:
        assert movie.is_eer
        frames = [page.asarray() for page in movie.pages]
    assert len(frames) == TINY.eer_frames
    assert 0.005 < np.mean(frames) < 0.02
    counted = tifffile.imread(files.tiff[0])
    assert counted.shape == (TINY.movie_frames, TINY.movie_px, TINY.movie_px)
    assert np.mean(counted) == pytest.approx(0.8, abs=0.05)
    with mrcfile.open(files.mrc[0]) as movie:
        assert movie.data.shape == (TINY.movie_frames, TINY.movie_px, TINY.movie_px)
    assert mrcfile.validate(files.stacks[0])


def test_every_way_of_reading_reads_every_byte_once(files: BenchFiles) -> None:
    size = sum(path.stat().st_size for path in files.stacks)
    assert read_whole(files.stacks) == size
    assert supports_direct(files.stacks[0]), "this filesystem has direct I/O"
    assert read_direct(files.stacks) == size
    order = [(stack, place) for place in range(files.particles_per_stack) for stack in range(len(files.stacks))]
    assert read_particles(files.stacks, order, TINY.particle_box_px) == TINY.particle_bytes


def test_reads_begin_with_a_cache_that_was_seen_to_be_cold(files: BenchFiles) -> None:
    read_whole(files.stacks)
    tests = carry_out(fs_tasks(files, TINY, cached=files.stacks), Policy(most=2, fewest=2))
    assert {test.name for test in tests} == {
        "fs_movies_tiff", "fs_movies_eer", "fs_movies_mrc", "fs_particles_sequential", "fs_particles_random",
        "fs_particles_direct", "fs_particles_random_cache",
    }  # fmt: skip
    assert [test.checks["cached_before"] for test in tests] == [0.0] * len(tests)
    for test in tests:
        expected = TINY.particle_bytes if "random" in test.name else test.workload["bytes"]
        assert test.checks["bytes_read"] == expected


def test_decoding_in_one_process_and_in_several_decodes_every_pixel(files: BenchFiles) -> None:
    assert decode_bytes(files.tiff[0].read_bytes()) == tifffile.imread(files.tiff[0]).size
    tasks, close = decode_tasks(files, TINY, workers=2)
    try:
        tests = carry_out(tasks, Policy(most=1, fewest=1))
    finally:
        close()
    pixels = {"tiff": TINY.movie_frames * TINY.movie_px**2, "eer": TINY.eer_frames * TINY.movie_px**2}
    assert {test.name: test.checks["pixels"] for test in tests} == {
        f"cpu_{kind}_decompress{suffix}": count for kind, count in pixels.items() for suffix in ("", "_multi")
    }


def test_no_room_and_unknown_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    assert needed_bytes(SIZES["published"]) > 13e9
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="GB free"):
        make_files(tmp_path, TINY)
    with pytest.raises(InputError, match="--size huge"):
        sizes_named("huge")
