"""The environment a stage sees: what programs need to run, by allow-list, and a temporary directory of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_NAMES = {
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "SHELL", "TERM", "TZ", "USER", "LOGNAME",
    "VIRTUAL_ENV", "XDG_DATA_HOME", "CRYOREPRO_HOME", "CRYOREPRO_NO_PLUGINS", "CRYOREPRO_DISABLE_PLUGINS",
}  # fmt: skip
_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "OMPI_", "PMIX_", "RELION_", "SLURM_", "OMP_", "MKL_")


def stage_environment(extra: Mapping[str, str], temporary: Path) -> dict[str, str]:
    """``extra`` on top of the allowed part of this process's environment."""
    inherited = {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}
    return {**inherited, "PYTHONUNBUFFERED": "1", **extra, "TMPDIR": str(temporary)}
