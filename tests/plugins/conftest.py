"""Distributions with plugins, installed in a temporary directory, and the command line run against them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.discovery import candidates
from cryorepro.plugins.loader import build_catalogue

ROOT = Path(__file__).resolve().parents[2]
PRELUDE = """\
from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import *
CRYOREPRO_API = "1"
"""


class Site:
    """A directory on the import path with distributions as an installer would leave them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        # The first-party plugins as this checkout declares them, whether or not it is installed here.
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        self.first_party: dict[str, str] = project["entry-points"]["cryorepro"]
        self.metadata("cryorepro", project["version"], self.first_party)

    def metadata(self, name: str, version: str, entry_points: dict[str, str], group: str = "cryorepro") -> Path:
        """The dist-info directory of a distribution."""
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{entry} = {module}" for entry, module in entry_points.items()]
        (info / "entry_points.txt").write_text("[cryorepro]\n" + "\n".join(lines) + "\n")
        return info

    def plugin(self, name: str, source: str, version: str = "1.0", prelude: str = PRELUDE) -> Path:
        """A distribution ``name`` with one plugin module; ``source`` follows the usual imports."""
        module = name.replace("-", "_")
        (self.path / f"{module}.py").write_text(prelude + source)
        return self.metadata(name, version, {name: module})

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of a process that sees this directory and the checkout."""
        paths = [str(self.path), str(ROOT), str(ROOT / "plugins")]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("CRYOREPRO_")}
        return clean | {"PYTHONPATH": os.pathsep.join(paths)} | settings

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """``cryorepro ARGUMENTS`` in another process, in a directory that is not the checkout."""
        command = [sys.executable, "-P", "-c", "from cryorepro.cli.main import run; run()", *arguments]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self.environment(**settings),
            cwd=self.path,
            timeout=120,
        )

    def json(self, *arguments: str, **settings: str) -> Any:
        """What ``cryorepro ARGUMENTS --json`` prints, with exit code 0."""
        done = self.run(*arguments, "--json", **settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture
def probe_source() -> Callable[[str, str], str]:
    """Source of a plugin that registers one probe, and the probe."""

    def source(name: str, body: str = "return {'fine': True}") -> str:
        return (
            f"@hookimpl\ndef cryorepro_probes():\n    yield Probe('{name}', 'a probe', __name__ + ':P')\n\n"
            f"class P:\n    def measure(self, roles):\n        {body}\n"
        )

    return source


@pytest.fixture
def catalogue_of(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Catalogue]]:
    """The catalogue of a site's third-party plugins, in this process."""

    def build(**environment: str) -> Catalogue:
        monkeypatch.syspath_prepend(str(site.path))
        names = {path.stem for path in site.path.glob("*.py")}
        return build_catalogue([row for row in candidates() if row.module in names], environment)

    yield build
    for path in site.path.glob("*.py"):
        sys.modules.pop(path.stem, None)
