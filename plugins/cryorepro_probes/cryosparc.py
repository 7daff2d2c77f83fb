"""CryoSPARC on PATH: its version file. Nothing is started and no licence is read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, read

_PROGRAMS = {"master": "cryosparcm", "worker": "cryosparcw"}


class CryosparcProbe(Recorded):
    """Versions of a CryoSPARC master and worker, or their absence."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """A program lies in ``bin/`` beside the file ``version``."""
        versions = {role: _version(program) for role, program in _PROGRAMS.items()}
        return {"found": any(shutil.which(program) for program in _PROGRAMS.values()), **versions}


def _version(program: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    text = read(Path(path).resolve().parent.parent / "version") or ""
    return text if re.fullmatch(r"v?\d+(\.\d+){1,3}[\w.+-]{0,32}", text) else None
