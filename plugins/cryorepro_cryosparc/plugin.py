"""What CryoSPARC contributes; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Importer

CRYOREPRO_API = "1.1"


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
