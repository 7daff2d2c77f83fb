"""Bundles to look at and to damage: one of the toy, one of a short run of the real RELION."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AUTHOR = "Ada Lovelace; 0000-0002-1825-0097; Analytical Society; https://example.org/society"
WORKFLOW = "https://workflowhub.eu/workflows/1"
USER = "zaphodbb"


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryorepro", *arguments], capture_output=True, text=True, timeout=300, env=environment
    )


def succeed(environment: dict[str, str], *arguments: str) -> str:
    done = command(environment, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def export(environment: dict[str, str], run: str, output: Path, *more: str) -> Path:
    succeed(environment, "export", run, "-o", str(output), "--with", "maps,stars,plots,prov", "--author", AUTHOR, *more)
    return output


@pytest.fixture(scope="session")
def toy_environment(tmp_path_factory: pytest.TempPathFactory, toy_site: Path) -> dict[str, str]:
    """A store of a person called Zaphod, with the toy plugin installed."""
    home = tmp_path_factory.mktemp("home") / USER
    home.mkdir()
    return {
        **os.environ,
        "HOME": str(home),
        "USER": USER,
        "LOGNAME": USER,
        "CRYOREPRO_HOME": str(home / "store"),
        "PYTHONPATH": str(toy_site),
    }


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory, toy_environment: dict[str, str]) -> Path:
    succeed(toy_environment, "reproduce", "toy", "--json", "--threads", "1")
    return export(toy_environment, "latest", tmp_path_factory.mktemp("bundle") / "toy.zip")


@pytest.fixture(scope="session")
def relion_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "CRYOREPRO_HOME": str(tmp_path_factory.mktemp("relion-store"))}


@pytest.fixture(scope="session")
def relion_bundle(tmp_path_factory: pytest.TempPathFactory, relion_environment: dict[str, str]) -> Path:
    """Two iterations of 120 simulated particles: too little to be right, which the verdict says."""
    settings = ("class3d.iterations=2", "class3d.healpix_order=1", "data.particles=120")
    arguments = [part for text in settings for part in ("--set", text)]
    done = command(relion_environment, "reproduce", "empiar-10028", "--runner", "relion", "--threads", "1", *arguments)
    assert done.returncode == 3, done.stdout + done.stderr
    return export(
        relion_environment, "latest", tmp_path_factory.mktemp("bundle") / "relion.zip", "--workflow", WORKFLOW
    )
