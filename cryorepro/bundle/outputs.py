"""Which of a run's outputs go with it: ``--with maps,stars,plots``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryorepro.bundle.facts import ArtifactInfo
from cryorepro.bundle.layout import ALL_OUTPUTS, ARTIFACTS
from cryorepro.bundle.privacy import Scrubber
from cryorepro.em.errors import InputError
from cryorepro.workflow.files import sha256_of

_SUFFIXES = {"maps": (".mrc", ".map"), "stars": (".star", ".xml")}
_MRC_HEADER_BYTES = 1024
_LARGEST_STAR_BYTES = 1 << 30


@dataclass
class Chosen:
    """What was found: members with the files or bytes that hold them."""

    artifacts: list[ArtifactInfo] = field(default_factory=list)
    members: dict[str, bytes | Path] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def parse_outputs(text: str) -> tuple[str, ...]:
    """``maps,stars`` as names.

    Raises:
        InputError: a name is not known.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in ALL_OUTPUTS]
    if unknown:
        raise InputError(f"--with {text}: '{unknown[0]}' is none of {', '.join(ALL_OUTPUTS)}")
    return names


def choose_outputs(run: Path, record: dict[str, Any], outputs: tuple[str, ...], scrubber: Scrubber) -> Chosen:
    """Outputs of completed stages, each still the file that its stage wrote.

    Raises:
        InputError: a file is missing or changed since the run recorded it.
    """
    chosen = Chosen()
    suffixes = tuple(suffix for name in outputs for suffix in _SUFFIXES.get(name, ()))
    for stage_name, stage in record["stages"].items():
        for entry in stage["outputs"]:
            if suffixes and entry["path"].endswith(suffixes):
                _add(chosen, run, stage_name, stage["index"], entry, scrubber)
    return chosen


def _add(chosen: Chosen, run: Path, stage: str, index: int, entry: dict[str, Any], scrubber: Scrubber) -> None:
    path = run / entry["path"]
    if not path.is_file() or path.is_symlink() or sha256_of(path) != entry["sha256"]:
        raise InputError(f"{entry['path']}: is no longer the file that stage '{stage}' wrote")
    member = f"{ARTIFACTS}{index:02d}-{stage}/{path.name}"
    content: bytes | Path = path
    if path.suffix in (".star", ".xml"):
        if path.stat().st_size > _LARGEST_STAR_BYTES:
            chosen.left_out.append(f"{entry['path']}: larger than 1 GB")
            return
        content = scrubber.star(path.read_bytes())
    elif scrubber.names_someone(_labels(path)):
        chosen.left_out.append(f"{entry['path']}: the labels in its header name a place, person or machine")
        return
    chosen.members[member] = content
    chosen.artifacts.append(
        ArtifactInfo(
            member=member,
            stage=stage,
            role=entry["role"],
            run_path=entry["path"],
            sha256_in_run=entry["sha256"],
            redacted=isinstance(content, bytes) and content != path.read_bytes(),
        )
    )


def _labels(path: Path) -> bytes:
    """The ten labels of an MRC header (MRC2014: 80 characters each from byte 224), without what pads them."""
    with path.open("rb") as stream:
        header = stream.read(_MRC_HEADER_BYTES)
    return b"\n".join(header[at : at + 80].strip(b"\0 ") for at in range(224, _MRC_HEADER_BYTES, 80))
