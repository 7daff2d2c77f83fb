"""Where a store lies, and what its runs are called."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cryorepro.em.errors import InputError
from cryorepro.store.errors import StoreError
from cryorepro.store.home import Home, new_run_uid
from cryorepro.store.journal import Journal


def make_runs(home: Home, *uids: str) -> None:
    for uid in uids:
        Journal.create(home.runs / uid).close()


def test_the_environment_decides_where_the_store_lies(tmp_path: Path) -> None:
    base = {"HOME": "/home/someone"}
    assert Home.locate(base).root == Path("/home/someone/.local/share/cryorepro")
    assert Home.locate({**base, "XDG_DATA_HOME": "/xdg"}).root == Path("/xdg/cryorepro")
    assert Home.locate({**base, "XDG_DATA_HOME": "relative"}).root == Path("/home/someone/.local/share/cryorepro")
    both = Home.locate({**base, "XDG_DATA_HOME": "/xdg", "CRYOREPRO_HOME": str(tmp_path)})
    assert (both.root, both.index) == (tmp_path, tmp_path / "index.sqlite")
    split = Home.locate({"CRYOREPRO_HOME": str(tmp_path), "CRYOREPRO_INDEX": "/local/index.sqlite"})
    assert (split.runs, split.index) == (tmp_path / "runs", Path("/local/index.sqlite"))


def test_truth_is_closed_to_others(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "store").ensure()
    home.truth.chmod(0o755)
    home.ensure()
    assert home.truth.stat().st_mode & 0o777 == 0o700
    assert home.runs.is_dir() and home.data.is_dir()


def test_run_names_sort_by_time_and_keep_to_one_alphabet() -> None:
    first = new_run_uid()
    assert re.fullmatch(r"\d{8}T\d{9}-[a-z2-9]{6}", first)
    later = [new_run_uid() for _ in range(500)]
    assert len({first, *later}) == 501
    stamps = [uid.split("-")[0] for uid in later]
    assert stamps == sorted(stamps)


def name_runs(root: str) -> list[str]:
    home = Home.at(Path(root))
    return [home.new_run()[0] for _ in range(25)]


def test_eight_processes_never_share_a_run(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        named = [uid for uids in pool.map(name_runs, [str(tmp_path)] * 8, chunksize=1) for uid in uids]
    assert len(set(named)) == len(named) == 200
    assert {path.name for path in (tmp_path / "runs").iterdir()} == set(named)


def test_a_run_is_found_by_a_piece_of_its_name(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    assert home.run_uids() == []
    with pytest.raises(InputError, match="no run is called 'latest'"):
        home.find_run("latest")
    make_runs(home, "20260101T000000000-aaaaaa", "20260101T000000000-bbbbbb", "20260102T000000000-cccccc")
    (home.runs / "20269999T000000000-nojour").mkdir()
    assert home.find_run("20260102").name.endswith("cccccc")
    assert home.find_run("bbbbbb").name.endswith("bbbbbb")
    assert home.find_run("20260101T000000000-aaaaaa").name.endswith("aaaaaa")
    assert home.find_run("latest").name.endswith("cccccc")
    with pytest.raises(InputError, match="2 runs are called '20260101'"):
        home.find_run("20260101")
    for wrong in ("", "../runs", "nope", "20269999"):
        with pytest.raises(InputError, match="no run is called"):
            home.find_run(wrong)


def test_a_store_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^cannot create .*/file/store: Not a directory$"):
        Home.at(tmp_path / "file/store").ensure()


def test_a_read_only_store_is_one_sentence(make_read_only: tuple[Path, Callable[[], None]]) -> None:
    folder, close = make_read_only
    home = Home.at(folder / "store").ensure()
    close()
    with pytest.raises(StoreError, match="read-only|Read-only file system") as caught:
        home.new_run()
    assert str(home.root) in str(caught.value) and "\n" not in str(caught.value)


def test_journals_and_homes_import_nothing_heavy() -> None:
    """Compute nodes and `--help` import these: no torch, no numpy, no SQLite."""
    script = (
        "import sys, cryorepro.store.home, cryorepro.store.journal, cryorepro.store.seal; "
        "print([name for name in ('torch', 'numpy', 'sqlite3', 'sqlite_utils') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
