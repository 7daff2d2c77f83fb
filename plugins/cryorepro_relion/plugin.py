"""Descriptor of the runner that drives the installed RELION; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Requirements, Runner

CRYOREPRO_API = "1"

EXECUTABLES = (
    "relion_refine",
    "relion_refine_mpi",
    "relion_mask_create",
    "relion_postprocess",
    "relion_ctf_refine",
    "relion_run_motioncorr",
    "relion_preprocess",
    "relion_autopick",
    "mpirun",
)


@hookimpl
def cryorepro_runners() -> Iterable[Runner]:
    """RELION itself."""
    return [
        Runner(
            "relion",
            "the installed RELION (3.1), driven by its own command lines",
            "cryorepro_relion.runner:RelionRunner",
            requires=Requirements(executables=EXECUTABLES),
            stages=(
                "class3d",
                "refine3d",
                "class2d",
                "initialmodel",
                "maskcreate",
                "postprocess",
                "localres",
                "ctfrefine",
                "motioncorrection",
                "picking",
                "extraction",
            ),
        )
    ]
