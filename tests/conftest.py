"""What every test may use: the real data, a store of its own, the command as a process, the toy plugin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.movie_twins import SmallTwin

ROOT = Path(__file__).resolve().parent.parent
os.environ["CRYOREPRO_CALIBRATION_SECONDS"] = "0"  # 20 s of every store's first run; tests of it set their own

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a suite started in the background of a script inherits that Ctrl-C is ignored, and so would what it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real cryo-EM data; its absence is a failure, not a skip."""
    path = Path(os.environ.get("CRYOREPRO_TEST_DATA") or ROOT.parent / "shared" / "data")
    assert path.is_dir(), f"real test data are missing: set CRYOREPRO_TEST_DATA (looked at {path})"
    return path


@pytest.fixture(scope="session")
def movie_twin(tmp_path_factory: pytest.TempPathFactory) -> SmallTwin:
    """Three small TIFF movies of the twin of EMPIAR-10288 and one of another shape, with their truth."""
    from tests.movie_twins import small_twin

    return small_twin(tmp_path_factory.mktemp("movie-twin"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store that commands and this process use."""
    path = tmp_path / "store"
    monkeypatch.setenv("CRYOREPRO_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that, on PYTHONPATH, is an installed distribution ``cryorepro-toy``."""
    site = tmp_path_factory.mktemp("toy-site")
    (site / "cryorepro_toy").symlink_to(ROOT / "tests" / "toy" / "cryorepro_toy")
    info = site / "cryorepro_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cryorepro-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cryorepro]\ntoy = cryorepro_toy.plugin\n")
    return site


@pytest.fixture
def toy(toy_site: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy plugin installed, with an empty store."""
    monkeypatch.setenv("PYTHONPATH", str(toy_site))
    return home


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cryorepro() -> Command:
    """Run ``cryorepro`` as a person would; returns the finished process."""

    def run(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cryorepro", *arguments], capture_output=True, text=True, timeout=timeout_s
        )

    return run
