"""What CryoSPARC contributes; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Importer, Requirements, Runner

CRYOREPRO_API = "1.1"

STAGES = (
    "motioncorrection",
    "ctfestimation",
    "curation",
    "picking",
    "pickinspection",
    "extraction",
    "class2d",
    "classselection",
    "initialmodel",
    "homogeneousrefinement",
    "nonuniformrefinement",
)


@hookimpl
def cryorepro_runners() -> Iterable[Runner]:
    """CryoSPARC itself, on a master of the person's own."""
    return [
        Runner(
            "cryosparc",
            "CryoSPARC itself: jobs queued on a master through cryosparc-tools",
            "cryorepro_cryosparc.runner:CryosparcRunner",
            requires=Requirements(
                modules=("cryosparc",),
                network=True,
                licence="CryoSPARC's own, held by the master",
                settings=("CRYOREPRO_CRYOSPARC_CONFIG", "~/.config/cryorepro/cryosparc.yaml"),
            ),
            stages=STAGES,
        )
    ]


@hookimpl
def cryorepro_importers() -> Iterable[Importer]:
    """Projects, jobs and times of CryoSPARC."""
    return [
        Importer(
            "cryosparc",
            "a CryoSPARC project, job or file of times, as a run",
            "cryorepro_cryosparc.importer:CryosparcImporter",
        )
    ]
