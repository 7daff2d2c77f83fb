"""Which files of a run belong to which stage, and to which iteration of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ITERATION = re.compile(r"_it(\d{3})_(.+)$")
_COMPARED = (".star", ".mrc", ".mrcs", ".json")
NOT_COMPARED = ("optimiser.star",)
"""Settings and file names, which the parameters of the runs show; sidecars of other kinds are left out as well."""


@dataclass(frozen=True)
class Artifact:
    """A file a stage wrote, with the digest the run recorded when it did (None for files between iterations)."""

    path: Path
    sha256: str | None = None


@dataclass(frozen=True)
class StageFiles:
    """Outputs by role, and files by iteration and by what follows the iteration in their name."""

    stage: str
    status: str
    outputs: dict[str, Artifact] = field(default_factory=dict)
    iterations: dict[int, dict[str, Artifact]] = field(default_factory=dict)


def stage_files(directory: Path, record: Mapping[str, Any]) -> list[StageFiles]:
    """Every stage of a run in its order, with the files that are there."""
    found = []
    for name, stage in record["stages"].items():
        outputs = {
            entry["role"]: Artifact(directory / entry["path"], entry["sha256"])
            for entry in stage["outputs"]
            if (directory / entry["path"]).is_file()
        }
        folder = _folder(directory, name, outputs)
        found.append(StageFiles(name, stage["status"], outputs, _iterations(folder) if folder else {}))
    return found


def _folder(directory: Path, name: str, outputs: Mapping[str, Artifact]) -> Path | None:
    """The stage's own directory: that of an output, or the one that carries its name."""
    stages = directory / "stages"
    for artifact in outputs.values():
        parts = artifact.path.relative_to(directory).parts
        if len(parts) > 2 and parts[0] == "stages":
            return stages / parts[1]
    named = re.compile(rf"(\d+[-_])?{re.escape(name)}")
    folders = sorted(path for path in stages.glob("*") if path.is_dir() and named.fullmatch(path.name))
    return folders[0] if folders else None


def _iterations(folder: Path) -> dict[int, dict[str, Artifact]]:
    found: dict[int, dict[str, Artifact]] = {}
    for path in sorted(folder.iterdir()):
        match = _ITERATION.search(path.name)
        if match and path.suffix in _COMPARED and match[2] not in NOT_COMPARED and path.is_file():
            found.setdefault(int(match[1]), {})[match[2]] = Artifact(path)
    return found
