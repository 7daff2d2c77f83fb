"""Chosen images of remote stacks: the right pixels, few bytes more than they have, a table that can be read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.stacks import ParticleStack
from cryorepro.em.formats.star import read_star
from cryorepro.workflow.fetch.cache import Cache
from cryorepro.workflow.fetch.errors import FetchError, NoRanges, NotFound
from cryorepro.workflow.fetch.particles import ParticleSelection, fetch_particles
from cryorepro.workflow.fetch.sources import Sources
from cryorepro.workflow.fetch.transfer import transfer
from cryorepro.workflow.fetch.verify import verify_cache
from tests.workflow.fetch.conftest import QUICK
from tests.workflow.fetch.server import Conduct, Server

BOX = 32
STAR = "data/Particles/particles.star"
HEAD = """
data_optics
loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
1 opticsGroup1 300 2.7 0.1 1.5 {box}

data_particles
loop_
_rlnImageName #1
_rlnDefocusU #2
_rlnDefocusV #3
_rlnDefocusAngle #4
_rlnOpticsGroup #5
"""


def write_table(path: Path, names: list[str], box: int = BOX) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{name} {10_000 + i} 10500 {i % 180} 1" for i, name in enumerate(names)]
    path.write_text(HEAD.format(box=box) + "\n".join(rows) + "\n")
    return path


def write_stacks(root: Path, counts: list[int], dtype: str, extended: int = 0) -> np.ndarray:
    """Stacks ``data/Particles/s/NNN.mrcs``; returns all their images."""
    random, stacks = np.random.default_rng(5), []
    for i, count in enumerate(counts):
        images = (random.normal(size=(count, BOX, BOX)) * 100).astype(dtype)
        path = root / f"data/Particles/s/{i + 1:03d}.mrcs"
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path, overwrite=True) as handle:
            handle.set_data(images.astype(np.dtype(dtype).newbyteorder("=")))
            if extended:
                handle.set_extended_header(np.frombuffer(bytes(extended), dtype="V1"))
        stacks.append(images.astype(np.float32))
    return np.concatenate(stacks)


def deposit(root: Path, counts: list[int], dtype: str = "<f4", extended: int = 0) -> np.ndarray:
    """Stacks and their table; the names are relative to the folder ``data``, as in RELION projects."""
    images = write_stacks(root, counts, dtype, extended)
    names = [f"{n + 1:06d}@Particles/s/{i + 1:03d}.mrcs" for i, count in enumerate(counts) for n in range(count)]
    write_table(root / STAR, names)
    return images


def select(server: Server, cache: Cache, count: int, seed: int = 3, notices: list[str] | None = None) -> Path:
    star = server.root / STAR
    with transfer(QUICK, notice=(notices if notices is not None else []).append) as one:
        return fetch_particles(cache, one, Sources((server.url,)), ParticleSelection(star, STAR, count, seed))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache" / "some-dataset")


Serve = Callable[[str], Server]


@pytest.mark.parametrize(("dtype", "extended"), [("<f4", 0), ("<f4", 2048), ("<i2", 512), ("<f2", 0)])
def test_the_selection_is_what_it_says_it_is(serve: Serve, cache: Cache, dtype: str, extended: int) -> None:
    server = serve("served")
    images = deposit(server.root, [40, 1, 70, 90], dtype, extended)
    folder = select(server, cache, 25)
    particles = read_particles(folder / "particles.star")
    ours = ParticleStack.open(particles, allowed_root=folder).read()
    origin = read_star(folder / "origin_rows.star")["origin"]
    rows = origin.integers("cryoreproDepositRow") - 1
    assert len(ours) == 25 and list(rows) == sorted(set(rows)) and rows.min() >= 0
    np.testing.assert_array_equal(ours, images[rows])
    table = read_particles(server.root / STAR)
    np.testing.assert_array_equal(particles.defocus_u_angstrom, table.defocus_u_angstrom[rows])
    assert origin.text("rlnImageOriginalName") == [table.image_names[row] for row in rows]
    mrcfile.validate(folder / "particles.mrcs")
    with mrcfile.open(folder / "particles.mrcs") as handle:
        assert float(handle.voxel_size.x) == pytest.approx(1.5)
        assert float(handle.header.dmean) == pytest.approx(images[rows].mean(), rel=1e-5)
        assert float(handle.header.rms) == pytest.approx(images[rows].std(), rel=1e-5)


def test_relion_reads_the_selection(serve: Serve, cache: Cache) -> None:
    server = serve("served")
    images = deposit(server.root, [40, 30])
    folder = select(server, cache, 12)
    command = ["relion_stack_create", "--i", "particles.star", "--o", "copy"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    rows = read_star(folder / "origin_rows.star")["origin"].integers("cryoreproDepositRow") - 1
    with mrcfile.open(folder / "copy.mrcs", permissive=True) as handle:
        np.testing.assert_allclose(handle.data, images[rows], rtol=1e-6)
    assert len(read_particles(folder / "copy.star")) == 12


def test_big_endian_stacks(serve: Serve, cache: Cache) -> None:
    server = serve("served")
    images = deposit(server.root, [30])
    path = server.root / "data/Particles/s/001.mrcs"
    with mrcfile.open(path) as handle:
        header = handle.header.copy()
    header.machst = (0x11, 0x11, 0, 0)
    path.write_bytes(header.astype(header.dtype.newbyteorder(">")).tobytes() + images.astype(">f4").tobytes())
    folder = select(server, cache, 10)
    rows = read_star(folder / "origin_rows.star")["origin"].integers("cryoreproDepositRow") - 1
    np.testing.assert_array_equal(ParticleStack.open(read_particles(folder / "particles.star")).read(), images[rows])


def big_stack(server: Server, wanted: int, count: int = 100_000, box: int = 64) -> int:
    """A stack of 1.6 GB as a file with holes, and its table; returns the bytes that `wanted` images have."""
    path = server.root / "data/Particles/s/001.mrcs"
    path.parent.mkdir(parents=True)
    with mrcfile.new(path) as handle:
        handle.set_data(np.zeros((1, box, box), dtype=np.float32))
    with path.open("r+b") as stream:
        stream.seek(8)
        stream.write(count.to_bytes(4, "little"))
        stream.truncate(1024 + count * box * box * 4)
    write_table(server.root / STAR, [f"{n + 1}@Particles/s/001.mrcs" for n in range(count)], box)
    return wanted * box * box * 4


def test_five_hundred_of_a_hundred_thousand_cost_less_than_a_fifth_more(serve: Serve, cache: Cache) -> None:
    """Requests count with 600 bytes of headers, both ways."""
    server = serve("served")
    needed = big_stack(server, 500)
    folder = select(server, cache, 500)
    assert (folder / "particles.mrcs").stat().st_size == 1024 + needed
    stack = [entry for entry in server.tally.seen if entry[0].endswith(".mrcs")]
    assert server.tally.sent + 600 * len(stack) < 1.2 * needed
    assert server.tally.sent >= needed


def test_an_interrupted_selection_goes_on(serve: Serve, cache: Cache) -> None:
    server = serve("served")
    images = deposit(server.root, [200])
    server.conduct = Conduct(status=lambda number: 403 if number > 20 else 200)
    with pytest.raises(FetchError, match="403"):
        select(server, cache, 60)
    server.conduct, sent = Conduct(), server.tally.sent
    folder = select(server, cache, 60)
    assert server.tally.sent - sent < 50 * BOX * BOX * 4
    rows = read_star(folder / "origin_rows.star")["origin"].integers("cryoreproDepositRow") - 1
    np.testing.assert_array_equal(ParticleStack.open(read_particles(folder / "particles.star")).read(), images[rows])
    states = {finding.state for finding in verify_cache(cache.root.parent, cache.root.name)}
    assert states == {"ok"}
    requests = server.tally.requests
    select(server, cache, 60)
    assert server.tally.requests == requests, "the selection is in the cache"


def test_seeds_draw_differently_and_the_same_again(serve: Serve, cache: Cache, tmp_path: Path) -> None:
    server = serve("served")
    deposit(server.root, [100])
    first, other = select(server, cache, 20, seed=1), select(server, cache, 20, seed=2)
    again = select(server, Cache(tmp_path / "elsewhere"), 20, seed=1)
    names = ["particles.star", "particles.mrcs", "origin_rows.star"]
    assert [(first / name).read_bytes() for name in names] == [(again / name).read_bytes() for name in names]
    assert (first / "origin_rows.star").read_bytes() != (other / "origin_rows.star").read_bytes()


def test_what_cannot_be_selected_is_one_sentence(serve: Serve, cache: Cache) -> None:
    server = serve("served")
    deposit(server.root, [30])
    with pytest.raises(InputError, match="31 particles are asked for, and it holds 30"):
        select(server, cache, 31)
    server.conduct = Conduct(ranges=False)
    with pytest.raises(NoRanges, match="whole files only"):
        select(server, cache, 5)
    server.conduct = Conduct()
    path = server.root / "data/Particles/s/001.mrcs"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-5000])
    with pytest.raises(InputError, match="truncated"):
        select(server, cache, 5)
    content[1024 : 1024 + 30 * BOX * BOX * 4] = np.full(30 * BOX * BOX, np.nan, "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match="NaN or infinite"):
        select(server, cache, 5)
    path.unlink()
    with pytest.raises(NotFound, match=r"001\.mrcs is in none of the 3 folders"):
        select(server, cache, 5)


def test_names_that_leave_the_entry_are_refused(serve: Serve, cache: Cache) -> None:
    server = serve("served")
    write_table(server.root / STAR, ["1@../../../etc/passwd.mrcs"] * 3)
    with pytest.raises(InputError, match="not a path inside an archive entry"):
        select(server, cache, 2)
