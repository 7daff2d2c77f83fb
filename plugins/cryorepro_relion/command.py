"""Parts of command lines and environments that several stages share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_files import Iteration
from cryorepro.model.stage import StageRequest
from cryorepro.model.stages import Class3DParameters, Refine3DParameters
from cryorepro_relion import program

# Debian's RELION allocates and frees large blocks all the time; with glibc's thresholds raised the same job
# gives the same results in 1.4 times less wall time and nearly no system time. Recorded with the command,
# because the setting is part of how RELION was timed.
ALLOCATOR: Mapping[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}
DEFAULTS: Mapping[str, float] = {"--offset": 10.0, "--perturb": 0.5, "--adaptive_fraction": 0.999, "--pad": 2}
"""RELION's own defaults of options that are written out only when they differ, so that the canonical
commands of published benchmarks come out to the letter."""


def environment(threads: int) -> dict[str, str]:
    """Environment of a RELION process with this many threads."""
    return {**ALLOCATOR, "OMP_NUM_THREADS": str(threads)}


def number(value: float) -> str:
    """A number as one would type it: no trailing zeros, never more than a double holds."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def flags(**switches: bool) -> list[str]:
    """``--name`` for each that is on, in the order given."""
    return [f"--{name}" for name, on in switches.items() if on]


def option(name: str, value: float | None) -> list[str]:
    """``name value``, or nothing for None."""
    return [] if value is None else [name, number(value)]


def unusual(name: str, value: float) -> list[str]:
    """``name value``, or nothing when RELION's own default is just that."""
    return [] if value == DEFAULTS[name] else [name, number(value)]


def expert_options(parameters: Class3DParameters | Refine3DParameters) -> list[str]:
    """Options of both refinements that no canonical command names."""
    return [
        *unusual("--offset", parameters.offset_sigma_angstrom),
        *flags(fix_sigma_offset=parameters.fix_offset_sigma),
        *unusual("--perturb", parameters.perturbation),
        *unusual("--adaptive_fraction", parameters.adaptive_fraction),
        *unusual("--pad", parameters.padding),
    ]


def runtime_options(request: StageRequest, pool: int, threads: int) -> list[str]:
    """Options that change how a refinement is computed, not what."""
    return ["--j", str(threads), "--pool", str(pool), *gpu_options(request)]


def gpu_options(request: StageRequest) -> list[str]:
    """``--gpu`` with the device's number, only where this RELION can use one.

    Raises:
        InputError: a GPU is asked of a build that would silently compute on the CPU.
    """
    if request.device == "cpu":
        return []
    kind, _, index = request.device.partition(":")
    if kind != "cuda":
        raise InputError(f"stage {request.stage}: device '{request.device}' is not known to RELION.")
    if not program.has_cuda():
        raise InputError(
            f"stage {request.stage}: device '{request.device}': the installed RELION is built without CUDA "
            f"and would compute on the CPU."
        )
    return ["--gpu", index] if index else ["--gpu"]


def mpi_prefix(ranks: int) -> list[str]:
    """The start of an MPI command line on this machine, more ranks than cores allowed."""
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    # mpirun puts every rank into a process group of its own: when mpirun itself is killed the ranks live on
    # for
    # seconds and could write into a job that is already being resumed. The kernel ends them at once instead.
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    return ["mpirun", "-n", str(ranks), "--oversubscribe", "--bind-to", "none", *root, *guard]


def continuation(last: Iteration, directory: Path) -> list[str]:
    """Options that go on after ``last``; RELION wants a new output name and refuses a seed here."""
    return [
        "--continue",
        str(last.path("optimiser.star").absolute()),
        "--o",
        str(directory.absolute() / f"run_ct{last.number}"),
    ]
