"""EMPIAR-10028 read from the archive by ranges gives the very files that a local copy of the deposit gives."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryorepro_datasets.empiar_10028 import Empiar10028

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import mrc_header
from cryorepro.em.streams import random_stream
from cryorepro.model.dataset import DataRequest
from cryorepro.store.home import Home
from cryorepro.workflow.prepare import prepare
from tests.em.formats.deposit_table import ROWS, deposit
from tests.workflow.fetch.archive_tree import EMDB, EMPIAR, mirror_variable
from tests.workflow.fetch.server import Conduct, Server, serving

COUNT, SEED, BOX, PER_STACK = 12, 7, 360, 100


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The deposit at its real size, 54.6 GB, as files with holes; only the drawn images have pixels."""
    root = tmp_path_factory.mktemp("archive")
    particles = root / EMPIAR / "10028" / "data" / "Particles"
    (particles / "MRC").mkdir(parents=True)
    deposit(particles / "shiny_2sets.star", ROWS, 5476)
    random = np.random.default_rng(1)
    statistics = type("S", (), {"lowest": 0.0, "highest": 0.0, "mean": 0.0, "deviation": 0.0})()
    drawn = random_stream(SEED, "subset").choice(ROWS, size=COUNT, replace=False)
    for stack in range(-(-ROWS // PER_STACK)):
        with (particles / "MRC" / f"{stack:04d}.mrcs").open("wb") as stream:
            stream.write(mrc_header((PER_STACK, BOX, BOX), np.dtype("<f4"), 1.34, 0, statistics))
            stream.truncate(1024 + PER_STACK * BOX * BOX * 4)
            for row in drawn[drawn // PER_STACK == stack]:
                stream.seek(1024 + int(row % PER_STACK) * BOX * BOX * 4)
                stream.write(random.normal(size=(BOX, BOX)).astype("<f4").tobytes())
    volume = mrc_header((BOX, BOX, BOX), np.dtype("<f4"), 1.34, 1, statistics) + bytes(4 * BOX**3)
    map_path = root / EMDB / "EMD-2660" / "map" / "emd_2660.map.gz"
    map_path.parent.mkdir(parents=True)
    map_path.write_bytes(gzip.compress(volume, compresslevel=1, mtime=0))
    (particles / "emd_2660.map.gz").symlink_to(map_path)
    with serving(root) as server:
        yield server


@pytest.fixture
def mirrored(archive: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("CRYOREPRO_MIRROR", mirror_variable(archive.url))
    archive.conduct = Conduct()
    return archive


def request(tier: str = "subset", local: Path | None = None, **parameters: object) -> DataRequest:
    home = Home.locate().ensure()
    return DataRequest.model_validate(
        {
            "tier": tier, "directory": home.data, "truth_directory": home.truth, "seed": SEED,
            "local_path": local, "parameters": parameters,
        }
    )  # fmt: skip


def test_both_ways_give_the_same_bytes(mirrored: Server) -> None:
    sent = mirrored.tally.sent
    remote = prepare("empiar-10028", request(particles=COUNT))
    needed = COUNT * BOX * BOX * 4
    table = (mirrored.root / EMPIAR / "10028/data/Particles/shiny_2sets.star").stat().st_size
    assert mirrored.tally.sent - sent < 1.2 * needed + table + 2_000_000
    local = prepare("empiar-10028", request(local=mirrored.root / EMPIAR / "10028", particles=COUNT))
    hashes = [{file["role"]: file["sha256"] for file in side["files"]} for side in (remote, local)]
    assert hashes[0] == hashes[1] and set(hashes[0]) == {"particles", "stack", "origin_rows", "reference"}
    assert [erratum["id"] for erratum in remote["prepared"]["errata"]] == ["empiar-10028-stray-token"]
    assert "from the archive by ranges" in remote["prepared"]["origin"]


def test_a_cached_file_that_was_spoiled_is_not_built_upon(mirrored: Server, tmp_path: Path) -> None:
    prepare("empiar-10028", request(particles=3))
    (stack,) = Home.locate().cache.rglob("particles-3-*/particles.mrcs")
    content = bytearray(stack.read_bytes())
    content[5000] ^= 1
    stack.unlink()  # the prepared tier has the same inode
    stack.write_bytes(content)
    shutil.rmtree(Home.locate().data)
    with pytest.raises(InputError, match="particles.mrcs: changed since it was fetched"):
        prepare("empiar-10028", request(particles=3))


def test_another_deposit_under_the_same_name_is_refused_before_its_images_are_read(mirrored: Server) -> None:
    star = mirrored.root / EMPIAR / "10028/data/Particles/shiny_2sets.star"
    content = star.read_bytes()
    try:
        star.write_bytes(content.replace(b"104478.000000", b"90000.0000000"))
        with pytest.raises(InputError, match="pixel size .* is not the 1.34 A"):
            prepare("empiar-10028", request(particles=COUNT))
        assert not any(path.endswith(".mrcs") for path, _ in mirrored.tally.seen[-5:])
    finally:
        star.write_bytes(content)


def test_without_a_network_one_sentence_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOREPRO_MIRROR", mirror_variable("http://127.0.0.1:9/"))
    with pytest.raises(InputError) as caught:
        prepare("empiar-10028", request(particles=COUNT))
    text = str(caught.value)
    for part in ("127.0.0.1:9 cannot be reached", "--data PATH", "shiny_2sets.star", "54.6 GB"):
        assert part in text, text
    assert "\n" not in text


class Fetched:
    """An archive whose full tier was fetched before."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, path: str) -> Path:
        raise AssertionError("nothing is to be fetched")

    def particles(self, *arguments: object) -> Path:
        raise AssertionError("nothing is to be fetched")

    def emdb_map(self, accession: str) -> Path:
        return self.root / EMDB / accession / "map" / "emd_2660.map.gz"

    def local_copy(self) -> Path:
        return self.root / EMPIAR / "10028"


def test_a_full_tier_that_was_fetched_is_used(archive: Server, tmp_path: Path, home: Path) -> None:
    (archive.root / EMPIAR / "10028/data/Particles/emd_2660.map.gz").rename(tmp_path / "aside")
    wanted = request("full").model_copy(update={"directory": tmp_path / "prepared"})
    prepared = Empiar10028().prepare_remote(wanted, Fetched(archive.root))
    assert prepared.rows == {"particles": ROWS} and prepared.files["reference"].is_file()
    assert len(list((tmp_path / "prepared" / "stacks").iterdir())) == -(-ROWS // PER_STACK)


def test_the_full_tier_is_never_fetched_by_surprise(mirrored: Server) -> None:
    requests = mirrored.tally.requests
    with pytest.raises(InputError, match="cryorepro fetch empiar-10028 --tier full"):
        prepare("empiar-10028", request("full"))
    assert mirrored.tally.requests == requests
