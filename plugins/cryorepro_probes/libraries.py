"""BLAS, FFT, OpenMP and GPU libraries that decide speed and rounding, found without loading any of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, keep

_LIBRARY = re.compile(
    r"lib(?:scipy_)?(openblas|mkl|blis|blas|atlas|lapack|flame|fftw3f?|gomp|iomp5|omp|cublas|cublasLt|cufft|cudart"
    r"|cudnn|nccl|sleef|dnnl|tbb)\w*[-.\w]*\.so"
)
_DISTRIBUTIONS = ("numpy", "scipy", "torch", "mkl", "intel-openmp", "pyfftw", "triton", "threadpoolctl")
_TIMEOUT_S = 5.0


class LibrariesProbe(Recorded):
    """Libraries inside Python distributions, by their RECORD digest; those RELION is linked to; the system's own."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """Names only: where a library lies is left out."""
        return {"bundled": _bundled(), "relion": linked("relion_refine"), "system": _system()}


def _bundled() -> dict[str, str]:
    """``{"numpy/libopenblas….so": digest}`` from each distribution's RECORD, which the installer has checked."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            record = metadata.distribution(name).read_text("RECORD") or ""
        except metadata.PackageNotFoundError:
            continue
        keep(f"RECORD of {name}", "\n".join(line for line in record.splitlines() if ".so" in line))
        for line in record.splitlines():
            path, _, rest = line.partition(",")
            library = path.rpartition("/")[2]
            if _LIBRARY.match(library):
                found[f"{name}/{library}"] = rest.partition(",")[0].removeprefix("sha256=")
    return found


def linked(program: str) -> list[str]:
    """Speed-deciding libraries that ``program`` on PATH loads, by the names of the files they resolve to."""
    path = shutil.which(program)
    text = told("ldd", path) if path else None
    targets = re.findall(r"=> (\S+) \(", text or "")
    names = {Path(target).resolve().name for target in targets}
    return sorted(name for name in names if _LIBRARY.match(name))


def _system() -> list[str]:
    """Those the system's loader knows."""
    names = re.findall(r"^\s*(\S+\.so\S*)", told("ldconfig", "-p") or "", re.MULTILINE)
    return sorted({name for name in names if _LIBRARY.match(name)})


def told(*command: str) -> str | None:
    """What a command prints; None when it is missing, fails or takes too long."""
    program = shutil.which(command[0], path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
    if program is None:
        return None
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    text = done.stdout.decode(errors="replace")
    keep(" ".join(command), text)
    return text
