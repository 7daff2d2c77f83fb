"""Registers the machine probes that ship with cryorepro."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Probe

CRYOREPRO_API = "1"

_PROBES = {
    "cpu": ("Processor model, flags, caches, cores usable by this process, frequency policy", "cpu:CpuProbe"),
    "memory": ("Memory and swap, and how much of it this process may use", "memory:MemoryProbe"),
    "system": ("Kernel, distribution, C library, hardware product and process limits", "system:SystemProbe"),
    "filesystems": ("Filesystem and device under input, scratch and output", "filesystems:FilesystemProbe"),
    "gpu": ("NVIDIA GPUs with driver, clocks, power limits, ECC and MIG through NVML", "gpu:GpuProbe"),
    "python": (
        "Python and every installed distribution with version and RECORD digest",
        "python:PythonProbe",
    ),
    "pytorch": ("torch build and the settings that decide its threads and determinism", "pytorch:TorchProbe"),
    "relion": ("RELION and MPI programs on PATH with version and digest", "relion:RelionProbe"),
    "libraries": ("BLAS, FFT, OpenMP and CUDA libraries with their digests", "libraries:LibrariesProbe"),
    "session": ("Locale, UTC offset and the clock's discipline", "session:SessionProbe"),
    "cloud": ("Virtual machine, cloud and instance type", "cloud:CloudProbe"),
    "cryosparc": ("CryoSPARC master and worker on PATH with their versions", "cryosparc:CryosparcProbe"),
    "container": ("Signs of a container, its image, and the control group version", "container:ContainerProbe"),
    "slurm": ("The shape of the Slurm allocation, by allow-list", "slurm:SlurmProbe"),
}


@hookimpl
def cryorepro_probes() -> Iterator[Probe]:
    """The probes of this package."""
    for name, (summary, place) in _PROBES.items():
        yield Probe(name, summary, f"cryorepro_probes.{place}")
