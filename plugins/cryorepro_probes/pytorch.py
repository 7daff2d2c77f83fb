"""The torch build and what decides its threads and determinism, without importing torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OMP_PROC_BIND",
    "OMP_PLACES", "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_CBWR", "CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING",
    "CUDA_MPS_PIPE_DIRECTORY", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "PYTORCH_ALLOC_CONF", "ATEN_CPU_CAPABILITY", "MALLOC_ARENA_MAX",
    "PYTHONHASHSEED",
)  # fmt: skip


class TorchProbe:
    """Version and build of torch and its companions; thread and determinism variables by allow-list."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """A variable whose value could hold a path is named, its value withheld."""
        return {
            "torch": _version("torch"),
            "torch_build": _torch_build(),
            "numpy": _version("numpy"),
            "triton": _version("triton"),
            "environment": {name: shown(os.environ[name]) for name in _VARIABLES if name in os.environ},
        }


def _torch_build() -> dict[str, str | None]:
    """Commit, CUDA and ROCm of the build, read from torch's own version file without importing torch."""
    try:
        files = metadata.files("torch") or []
    except metadata.PackageNotFoundError:
        return {}
    path = next((file.locate() for file in files if str(file) == "torch/version.py"), None)
    text = Path(str(path)).read_text(errors="replace") if path and Path(str(path)).is_file() else ""
    wanted = ("git_version", "cuda", "hip", "debug")
    found = {name: re.search(rf"^{name}\b[^=]*= *'?([\w.+-]+)'?", text, re.MULTILINE) for name in wanted}
    return {name: match[1] if match and match[1] != "None" else None for name, match in found.items()}


def shown(value: str) -> str:
    """``value`` if it is short and holds no path and no identifier of one GPU, else ``(withheld)``."""
    plain = re.fullmatch(r"[\w.,:;()=+{} -]{0,64}", value) and not re.search(r"(GPU|MIG)-", value)
    return value if plain else "(withheld)"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
