"""Descriptors of the project's own runners; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Requirements, Runner

CRYOREPRO_API = "1"

STAGES = (
    "class3d",
    "refine3d",
    "class2d",
    "classselection",
    "reextraction",
    "initialmodel",
    "maskcreate",
    "postprocess",
    "localres",
    "ctfrefine",
    "motioncorrection",
    "ctfestimation",
    "curation",
    "picking",
    "pickinspection",
    "extraction",
    "homogeneousrefinement",
    "nonuniformrefinement",
)


@hookimpl
def cryorepro_runners() -> Iterable[Runner]:
    """One set of programs under the names of what they stand in for, and held to the CPU and to the same bits."""
    return [
        Runner(
            "relion-like",
            "RELION's likelihood in torch: CPU or GPU, RELION's own file formats",
            "cryorepro_engines.runner:RelionLikeRunner",
            requires=Requirements(modules=("torch",)),
            stages=STAGES,
        ),
        Runner(
            "cryosparc-like",
            "from movies to a map as CryoSPARC's pipeline goes: branch and bound, non-uniform refinement, in torch",
            "cryorepro_engines.runner:RelionLikeRunner",
            requires=Requirements(modules=("torch",)),
            stages=STAGES,
        ),
        Runner(
            "cpu-only",
            "the same likelihood on the CPU, bit for bit the same from one seed on any number of threads",
            "cryorepro_engines.runner:CpuOnlyRunner",
            requires=Requirements(modules=("torch",)),
            stages=STAGES,
            deterministic=True,
        ),
    ]
