"""EMPIAR's folders, EMDB's records, selections of movies: against a copy of their addresses on the loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from cryorepro_datasets.entry_file import load_entry

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star
from cryorepro.workflow.fetch.archive import CachedArchive
from cryorepro.workflow.fetch.deliver import deliver, deliver_files
from cryorepro.workflow.fetch.emdb import half_map_names
from cryorepro.workflow.fetch.empiar import parse_entry
from cryorepro.workflow.fetch.errors import FetchError
from cryorepro.workflow.fetch.listing import index_entries, list_files
from cryorepro.workflow.fetch.manifest import safe_path
from cryorepro.workflow.fetch.orders import Order, preview
from cryorepro.workflow.fetch.outlook import outlook
from cryorepro.workflow.fetch.sources import empiar
from cryorepro.workflow.fetch.text import read_json
from cryorepro.workflow.fetch.transfer import Transfer, transfer
from tests.workflow.fetch.archive_tree import EMPIAR, emdb_0339, empiar_api_10288, entry_10288, mirrors
from tests.workflow.fetch.conftest import QUICK
from tests.workflow.fetch.server import Conduct, Server

CB1 = load_entry("empiar-10288")


@pytest.fixture
def server(serve: Callable[[str], Server]) -> Server:
    server = serve("served")
    entry_10288(server.root)
    emdb_0339(server.root)
    return server


@pytest.fixture
def connections(server: Server) -> Iterator[Transfer]:
    with transfer(replace(QUICK, mirrors=mirrors(server.url))) as one:
        yield one


@pytest.fixture
def archive(connections: Transfer, tmp_path: Path) -> CachedArchive:
    return CachedArchive(tmp_path / "cache", connections, CB1)


def test_a_subset_of_movies(archive: CachedArchive, server: Server) -> None:
    delivery = deliver(Order(CB1, "subset", seed=4, count=5), archive)
    tables = {path.name: read_star(path) for path in delivery.folder.iterdir()}
    movies = tables["movies.star"]["movies"].text("rlnMicrographMovieName")
    rows = tables["origin_rows.star"]["origin"].integers("cryoreproDepositRow")
    listed = sorted(path.name for path in (server.root / EMPIAR / "10288/data").glob("CB1__*.tif"))
    kept = [name for name in listed if name not in CB1.errata[0].files]
    assert [PurePosixPath(name).name for name in movies] == [kept[row - 1] for row in rows] and len(set(rows)) == 5
    for name in movies:
        there = server.root / EMPIAR / "10288" / PurePosixPath(name).relative_to("deposit")
        assert (archive.cache.root / name).read_bytes() == there.read_bytes()
    assert [name for name in delivery.files if name.endswith(".dm4")] == [f"deposit/{gain}" for gain in CB1.layout.gain]  # type: ignore[union-attr]
    command = ["relion_star_printtable", str(delivery.folder / "movies.star"), "data_movies", "rlnMicrographMovieName"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert printed.split() == movies, "RELION's own reader takes the table"
    optics = tables["movies.star"]["optics"]
    assert optics.numbers("rlnMicrographOriginalPixelSize").tolist() == [0.86]
    assert "rlnAmplitudeContrast" not in optics.columns
    assert any("rlnAmplitudeContrast" in note for note in delivery.notes)
    assert any("CB1__00004_Feb18_23.33.18.tif" in note for note in delivery.notes)


def test_the_full_tier_and_its_local_copy(archive: CachedArchive) -> None:
    assert archive.local_copy() is None
    delivery = deliver(Order(CB1, "full"), archive)
    movies = [name for name in delivery.files if name.endswith(".tif")]
    assert len(movies) == 12 and not any(name.endswith("notes.txt") for name in delivery.files)
    assert archive.local_copy() == archive.cache.root / "deposit"
    (archive.cache.root / movies[3]).unlink()
    assert archive.local_copy() is None


def test_maps_half_maps_curves_and_models(archive: CachedArchive) -> None:
    delivery = deliver(Order(CB1, "subset", count=1, extras=("map", "half-maps", "fsc", "model")), archive)
    assert [name for name in delivery.files if name.startswith("maps/")] == [
        "maps/EMD-0339/map/emd_0339.map.gz",
        "maps/EMD-0339/other/emd_0339_half_map_1.map.gz",
        "maps/EMD-0339/other/emd_0339_half_map_2.map.gz",
        "maps/EMD-0339/fsc/emd_0339_fsc.xml",
        "maps/6N4B.cif",
    ]
    assert set(delivery.files) <= set(archive.cache.records())


def test_an_entry_without_half_maps_says_so(archive: CachedArchive, server: Server) -> None:
    (server.root / "emdb/api/entry/EMD-0339").write_text('{"emdb_id": "EMD-0339"}')
    with pytest.raises(FetchError, match="EMD-0339: EMDB lists no half maps"):
        deliver(Order(CB1, "subset", count=1, extras=("half-maps",)), archive)


def test_a_header_file_the_archive_lacks_is_a_remark(archive: CachedArchive, server: Server) -> None:
    (server.root / EMPIAR / "10288/10288.xml").unlink()
    delivery = deliver(Order(CB1, "subset", count=1), archive)
    assert any("10288.xml" in note for note in delivery.notes)


def test_more_movies_than_there_are(archive: CachedArchive) -> None:
    with pytest.raises(InputError, match="13 movies are asked for, and the archive lists 12"):
        deliver(Order(CB1, "subset", count=13), archive)


def test_patterns_below_folders(connections: Transfer, server: Server) -> None:
    base = server.root / EMPIAR / "10288"
    for name in ("a/x/1.mrcs", "a/y/2.mrcs", "a/y/deep/3.mrcs", "a/y/4.txt"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("x")
    sources = empiar("10288")
    assert list_files(connections, sources, "a/*/*.mrcs") == ["a/x/1.mrcs", "a/y/2.mrcs"]
    assert list_files(connections, sources, "a/**") == ["a/x/1.mrcs", "a/y/2.mrcs", "a/y/4.txt", "a/y/deep/3.mrcs"]
    assert list_files(connections, sources, "data/one.mrc") == ["data/one.mrc"]
    with pytest.raises(FetchError, match="no file of the archive matches"):
        list_files(connections, sources, "a/*/*.tif")


def test_an_index_in_chunks(connections: Transfer, server: Server) -> None:
    server.conduct = Conduct(chunked=True)
    assert len(list_files(connections, empiar("10288"), "data/*.dm4")) == 2


def test_an_index_that_is_an_error_page_is_asked_for_again(connections: Transfer, server: Server) -> None:
    server.conduct = Conduct(page=lambda number: b"<html>busy</html>" if number == 1 else None)
    assert len(list_files(connections, empiar("10288"), "data/*.dm4")) == 2
    server.conduct = Conduct(page=lambda number: b"<html>busy</html>")
    with pytest.raises(FetchError, match="no index of the folder"):
        list_files(connections, empiar("10288"), "data/*.dm4")


def test_links_that_lead_elsewhere_are_not_files() -> None:
    page = """<a href="?C=M;O=A">x</a><a href="/other/">up</a><a href="https://elsewhere.org/f.mrc">f</a>
    <a href="../secret.mrc">s</a><a href="b.mrc">b</a><a href="a%20b.mrc">a</a><a href="sub/">d</a><a href=".h">h</a>"""
    assert index_entries(page, "https://host/data/") == [".h", "a b.mrc", "b.mrc", "sub/"]


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a/./b/.h", ".hidden", "a\\b", "a\nb", "x" * 2000]
)
def test_paths_that_leave_the_cache_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="not a path inside"):
        safe_path(path)


def test_empiars_record_is_checked() -> None:
    images = {"name": "movies", "directory": "data", "num_images_or_tilt_series": 2756, "new": {}}
    entry = parse_entry({"EMPIAR-10288": {"title": "CB1", "imagesets": [images], "more": 1}}, "10288")
    assert entry.imagesets[0].num_images_or_tilt_series == 2756
    for broken in ({}, {"EMPIAR-10288": None}, {"EMPIAR-10288": {"title": "x", "imagesets": "many"}}):
        with pytest.raises(FetchError, match="EMPIAR's record of entry 10288"):
            parse_entry(broken, "10288")


@pytest.mark.parametrize("halves", ["text", [{"name": "x"}], 5])
def test_emdbs_record_is_checked(halves: object) -> None:
    with pytest.raises(FetchError, match="EMDB's record"):
        half_map_names({"interpretation": {"half_map_list": {"half_map": halves}}})
    with pytest.raises(InputError):
        half_map_names({"interpretation": {"half_map_list": {"half_map": [{"file": "../../x"}]}}})


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"[1, 2]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_an_api_that_answers_something_else(connections: Transfer, server: Server, body: bytes) -> None:
    server.conduct = Conduct(page=lambda number: body)
    with pytest.raises(FetchError, match=r"api/entry"):
        read_json(connections, "https://www.ebi.ac.uk/emdb/api/entry/EMD-0339")


def test_the_preview_asks_nobody(tmp_path: Path) -> None:
    text = "\n".join(preview(Order(CB1, "subset", count=7), tmp_path))
    for part in (
        "draw     7", "leave    CB1__00724_Feb19_12.00.25.tif", "ascp -QT", "hx-fasp-1.ebi.ac.uk:/10288/data",
        "globus transfer --recursive", "lftp -e", "wget -c",
    ):  # fmt: skip
        assert part in text, part


def test_what_the_archive_says_of_an_entry(archive: CachedArchive, server: Server) -> None:
    empiar_api_10288(server.root)
    lines = outlook(archive)
    assert lines[0] == "CB1" and "2756 images" in lines[1] and "0.86 A" in lines[1]
    assert lines[2:] == ["see also EMD-0339", "10288.xml", "data/"]
    assert "data/notes.txt" in outlook(archive, "data")


def test_single_files_by_their_path(archive: CachedArchive) -> None:
    delivery = deliver_files(["data/notes.txt"], archive)
    assert (delivery.folder / "data" / "notes.txt").stat().st_size == archive.transfer.meter.received_bytes
    with pytest.raises(InputError, match="not a path inside"):
        deliver_files(["../../etc/passwd"], archive)
