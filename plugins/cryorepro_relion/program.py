"""What the installed RELION says of itself, asked once per process."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path

from cryorepro.em.errors import InputError

REFINE = "relion_refine"
REFINE_MPI = "relion_refine_mpi"
MASK_CREATE = "relion_mask_create"
POSTPROCESS = "relion_postprocess"
CTF_REFINE = "relion_ctf_refine"
MOTION = "relion_run_motioncorr"
PREPROCESS = "relion_preprocess"
AUTOPICK = "relion_autopick"
PROGRAMS = (REFINE, REFINE_MPI, MASK_CREATE, POSTPROCESS, CTF_REFINE, PREPROCESS, MOTION, AUTOPICK)
_TIMEOUT_S = 60


@cache
def describe() -> dict[str, str]:
    """Version, build precision, package and the hash of every program used.

    Raises:
        InputError: RELION is not installed, or does not answer.
    """
    lines = _output([REFINE, "--version"]).splitlines()
    fields = dict(line.partition(":")[::2] for line in lines if ":" in line)
    version = fields.get("RELION version", "").split()
    if not version:
        raise InputError(f"{REFINE} --version: no version in its answer {lines[:2]}.")
    found = {"name": "RELION", "version": version[0], "precision": fields.get("Precision", "").strip()}
    found |= _packages(Path(_find(REFINE)))
    found["mpirun"] = _output(["mpirun", "--version"]).splitlines()[0]
    for program in PROGRAMS:
        with Path(_find(program)).open("rb") as stream:
            found[f"sha256_{program}"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def has_cuda() -> bool:
    """Whether this build can use a GPU; another takes ``--gpu``, uses the CPU and ends with exit code 0."""
    return "CUDA" in describe()["precision"].upper()


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise InputError(f"{program} is not installed or not on the PATH.")
    return path


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            [_find(argv[0]), *argv[1:]], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{' '.join(argv)} does not answer ({error}).") from error
    return done.stdout.strip() or done.stderr.strip()


def _packages(binary: Path) -> dict[str, str]:
    # Absence of dpkg, or a RELION built from source, is no failure: there is just no package to name.
    if shutil.which("dpkg-query") is None:
        return {}
    try:
        owner = _output(["dpkg-query", "--search", str(binary)]).partition(":")[0]
        return {"package": _output(["dpkg-query", "--show", "--showformat=${Package} ${Version}", owner])}
    except InputError:
        return {}
