"""Sizes and hashes that are known before a file is fetched, and the records of what was."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryorepro_datasets.entry_file import load_entry

from cryorepro.em.errors import InputError
from cryorepro.workflow.fetch.cache import Cache
from cryorepro.workflow.fetch.errors import FetchError, WrongContent
from cryorepro.workflow.fetch.manifest import KnownFile, expected, known_files
from tests.workflow.fetch.conftest import SIZE, Place


def test_the_published_manifest_is_that_of_float_images_of_the_declared_shape() -> None:
    known = known_files("empiar-10025")
    rows, columns = load_entry("empiar-10025").frame_shape_px or (0, 0)
    assert len(known) == 30 and {file.size_bytes for file in known.values()} == {1024 + rows * columns * 4}
    name = "14sep05c_c_00003gr_00014sq_00004hl_00004es_c.mrc"
    assert expected(known, f"data/somewhere/{name}") == known[name]
    assert known_files("empiar-10721") == {}


@pytest.mark.parametrize("text", ["dataset: x", "dataset: x\nsource: y\nfiles: [{path: a, size_bytes: -1}]", "- a"])
def test_a_malformed_manifest_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=r"x\.yaml"):
        known_files("x", tmp_path)


def test_a_published_hash_decides(place: Place) -> None:
    with pytest.raises(WrongContent, match="sha256 .* published"):
        place.fetch(KnownFile(path="movie.mrcs", size_bytes=SIZE, sha256="0" * 64))
    assert not place.target.exists() and place.leftovers() == []
    place.fetch(KnownFile(path="movie.mrcs", size_bytes=SIZE, sha256=place.sha256))
    with pytest.raises(WrongContent, match="sha256 .* published"):
        place.fetch(KnownFile(path="movie.mrcs", size_bytes=SIZE, sha256="0" * 64))


def test_records_survive_a_torn_last_line_and_nothing_else(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "a")
    cache.root.mkdir()
    for name in ("one", "two"):
        cache.record(name, 3, "0" * 64, "https://host/x")
    path = cache.root / "files.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert set(cache.records()) == {"one"}
    cache.record("three", 3, "0" * 64, "https://host/x")
    assert set(cache.records()) == {"one", "three"}
    path.write_bytes(b'{"path": 1}\n' + whole)
    with pytest.raises(FetchError, match=r"files\.jsonl:1: damaged record"):
        Cache(tmp_path / "a").records()
