"""The RELION and MPI programs that would be run: version as they report it, digest of the file."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, keep

_PROGRAMS = (
    "relion_refine", "relion_refine_mpi", "relion_mask_create", "relion_postprocess", "relion_reconstruct",
)  # fmt: skip
_TIMEOUT_S = 10.0


class RelionProbe(Recorded):
    """RELION on PATH, or its absence; the MPI launcher."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """``version`` and ``precision`` are relion_refine's own words; digests are of the programs' files."""
        text = output_of("relion_refine")
        version = re.search(r"RELION version:\s*(\S+)", text or "")
        precision = re.search(r"Precision:\s*(.+)", text or "")
        return {
            "found": shutil.which("relion_refine") is not None,
            "version": version[1] if version else None,
            "precision": precision[1].strip() if precision else None,
            "programs_sha256": {name: digest(name) for name in _PROGRAMS},
            "mpi": first_line(output_of("mpirun")),
        }


def output_of(program: str) -> str | None:
    """What ``program --version`` prints; None when it is not on PATH, fails, or takes too long."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = done.stdout + done.stderr
    keep(f"{program} --version", text)
    return text if done.returncode == 0 else None


def digest(program: str) -> str | None:
    """sha256 of the file behind ``program``, links followed; None when it is not on PATH or unreadable."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        with Path(path).resolve().open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def first_line(text: str | None) -> str | None:
    """The first line that is not empty, at most 120 characters."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[0][:120] if lines else None
