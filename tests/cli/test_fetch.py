"""``fetch``, ``data``, ``cite``, ``show`` and ``list datasets`` as a person runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workflow.fetch.archive_tree import EMPIAR, emdb_0339, entry_10288, mirror_variable
from tests.workflow.fetch.server import Conduct, Server, serving

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def archive(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    entry_10288(tmp_path / "served")
    emdb_0339(tmp_path / "served")
    with serving(tmp_path / "served") as server:
        monkeypatch.setenv("CRYOREPRO_MIRROR", mirror_variable(server.url))
        yield server


def test_fetch_list_verify_and_path(archive: Server, home: Path, cryorepro: Command) -> None:
    done = cryorepro("fetch", "empiar-10288", "--count", "4", "--with", "map", "--limit-rate", "50M")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert folder.parts[-2:] == ("subsets", "movies-4-seed1-of12") and (folder / "movies.star").is_file()
    again = cryorepro("fetch", "empiar-10288", "--count", "4", "--with", "map")
    assert again.returncode == 0 and " 0 B received" in again.stdout

    (row,) = json.loads(cryorepro("data", "list", "--json").stdout)
    assert (row["dataset"], row["partial_files"]) == ("empiar-10288", 0)
    assert cryorepro("data", "path", "empiar-10288").stdout.strip() == str(home / "cache" / "empiar-10288")

    sound = cryorepro("data", "verify")
    assert sound.returncode == 0 and f"{row['files']} files" in sound.stdout and "0 are not" in sound.stdout
    cache = home / "cache" / "empiar-10288"
    gain = next(cache.rglob("*.dm4"))
    with gain.open("r+b") as stream:
        stream.seek(17)
        stream.write(b"\x00\x01\x02\x03")
    (cache / "deposit" / "stranger.mrc").write_text("who put me here")
    spoiled = cryorepro("data", "verify", "empiar-10288", "--json")
    states = {finding["path"]: finding["state"] for finding in json.loads(spoiled.stdout)}
    assert spoiled.returncode == 1
    assert states[str(gain.relative_to(cache))] == "changed" and states["deposit/stranger.mrc"] == "unrecorded"
    assert list(states.values()).count("ok") == row["files"] - 1


def test_a_file_deleted_by_hand_comes_back_the_same(archive: Server, home: Path, cryorepro: Command) -> None:
    assert cryorepro("fetch", "empiar-10288", "--count", "2").returncode == 0
    movie = next((home / "cache").rglob("CB1__*.tif"))
    content = movie.read_bytes()
    movie.unlink()
    assert "1 files" not in cryorepro("data", "verify").stdout
    assert cryorepro("fetch", "empiar-10288", "--count", "2").returncode == 0
    assert movie.read_bytes() == content
    movie.unlink()
    (archive.root / EMPIAR / "10288" / "data" / movie.name).write_bytes(content[::-1])
    refused = cryorepro("fetch", "empiar-10288", "--count", "2")
    assert refused.returncode == 2 and "recorded on" in refused.stderr and len(refused.stderr.splitlines()) <= 3


def test_ctrl_c_says_how_to_go_on(archive: Server, home: Path, cryorepro: Command) -> None:
    archive.conduct = Conduct(rate=20_000)
    child = subprocess.Popen(
        [sys.executable, "-m", "cryorepro", "fetch", "empiar-10288"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list((home / "cache").rglob(".*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130 and errors.splitlines()[-1] == "interrupted; the same command goes on from here"
    archive.conduct = Conduct()
    assert cryorepro("fetch", "empiar-10288").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("empiar-10721",), "tier 'subset' cannot be fetched; missing: which files of the entry"),
        (("empiar-10288", "--tier", "twin"), "--tier twin"),
        (("empiar-10288", "--with", "pictures"), "--with pictures"),
        (("empiar-10288", "--tier", "full", "--count", "3"), "--count"),
        (("empiar-10288", "--limit-rate", "soon"), "--limit-rate soon"),
        (("empiar-10288", "--method", "pigeon"), "--method pigeon"),
        (("empiar-99999",), "no dataset is named 'empiar-99999'"),
        (("empiar-10338", "--tier", "full"), "missing: the layout of the files"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, home: Path, cryorepro: Command
) -> None:
    done = cryorepro("fetch", *arguments)
    assert done.returncode == 2 and sentence in done.stderr and len(done.stderr.splitlines()) == 1


def test_without_a_network(home: Path, cryorepro: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOREPRO_MIRROR", mirror_variable("http://127.0.0.1:9/"))
    done = cryorepro("fetch", "empiar-10288")
    assert done.returncode == 2 and "127.0.0.1:9 cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    dry = cryorepro("fetch", "empiar-10288", "--dry-run")
    assert dry.returncode == 0 and "draw     10" in dry.stdout
    ready = cryorepro("fetch", "empiar-10288", "--tier", "full", "--method", "aspera")
    assert ready.returncode == 0 and "ascp -QT" in ready.stdout and len(ready.stdout.splitlines()) == 1


def test_looking_at_datasets(home: Path, cryorepro: Command) -> None:
    listed = cryorepro("list", "datasets").stdout
    assert all(f"empiar-{number}" in listed for number in (10002, 10017, 10025, 10028, 10146, 10204, 10249, 10721))
    shown = cryorepro("show", "--dataset", "empiar-10288").stdout
    assert "looked for and not found" in shown and "seed" in shown and "empiar-10288-gain-flip" in shown
    info = json.loads(cryorepro("show", "--dataset", "empiar-10390", "--json").stdout)
    assert info["voltage_kv"] is None and info["symmetry"] is None
    assert cryorepro("cite", "empiar-10028").stdout.startswith("@article{Wong2014,")
    assert json.loads(cryorepro("cite", "empiar-10028", "--format", "csl").stdout)[1]["DOI"] == "10.6019/EMPIAR-10028"
    assert cryorepro("cite", "empiar-10028", "--format", "ris").returncode == 2


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['cryorepro', '--help']\nimport atexit\n" \
        "atexit.register(lambda: print('LOADED', [m for m in ('urllib3', 'numpy', 'torch') if m in sys.modules]))\n" \
        "from cryorepro.cli.main import run; run()"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "LOADED []" in done.stdout, done.stdout + done.stderr
