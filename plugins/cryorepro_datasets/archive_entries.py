"""Archive entries that are declared whole and fetched; those of movies are prepared. Imports no numerics."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol

from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DataRequest, DatasetInfo, PreparedData
from cryorepro.plugins.types import Dataset
from cryorepro_datasets.entry_file import load_entry

SUMMARIES = {
    "empiar-10002": "yeast 80S ribosome: the cloud benchmark of Cianfrocco and Leschziner",
    "empiar-10017": "beta-galactosidase micrographs with expert picks",
    "empiar-10025": "T20S proteasome: CryoSPARC's extensive validation",
    "empiar-10204": "beta-galactosidase: RELION's tutorial",
    "empiar-10249": "three K2 movies of CryoSPARC's performance benchmark",
    "empiar-10288": "CB1-Gi complex: the benchmark of CryoSPARC on AWS",
    "empiar-10305": "second data set of CryoSPARC's extensive validation",
    "empiar-10338": "aldolase at 200 keV: the STFC end-to-end benchmark",
    "empiar-10390": "coronavirus haemagglutinin-esterase: third STFC data set",
    "empiar-10612": "three Falcon 4 EER movies of CryoSPARC's performance benchmark",
    "empiar-10721": "three K3 movies of CryoSPARC's performance benchmark",
}


_TWINS = {name: f"cryorepro_datasets.{name.replace('-', '_')}_twin" for name in ("empiar-10025", "empiar-10288")}


class ArchiveEntry:
    """The implementation of one such entry; a tier that cannot be prepared is refused with what is missing."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def info(self) -> DatasetInfo:
        """What the entry's file says."""
        return load_entry(self.name)

    def prepare(self, request: DataRequest) -> PreparedData:
        """Simulate the twin, or list and link the movies of a local copy.

        Raises:
            InputError: there is none, it is not what the entry declares, or this version lacks something for the
                tier; the sentence says what.
        """
        if request.tier == "twin" and self.name in _TWINS:
            return _twin(self.name).prepare(request)
        tier = self.info.tier(request.tier)
        if tier is None:
            offered = ", ".join(f"'{tier.tier}'" for tier in self.info.tiers)
            raise InputError(f"{self.name}: tier '{request.tier}' does not exist yet; declared are {offered}")
        if tier.missing is None and request.tier != "twin":
            from cryorepro_datasets.movie_deposit import prepare_movies

            return prepare_movies(self.info, request)
        raise InputError(
            f"{self.name}: tier '{request.tier}' cannot be prepared for a run yet; missing: {tier.missing}"
        )

    def truth(self, request: DataRequest) -> Mapping[str, Path]:
        """A twin's truth by role; nothing for real data."""
        if request.tier != "twin" or self.name not in _TWINS:
            return {}
        from cryorepro_datasets.movie_twin_truth import truth_files

        return truth_files(request.truth_directory)


class TwinModule(Protocol):
    """A module that simulates one dataset."""

    def prepare(self, request: DataRequest) -> PreparedData:
        """Simulate it."""
        ...


def _twin(name: str) -> TwinModule:
    module: TwinModule = import_module(_TWINS[name])
    return module


def descriptor(name: str) -> Dataset:
    """The dataset ``name`` as a plugin yields it."""
    constant = name.replace("-", "_").upper()
    return Dataset(name, SUMMARIES[name], f"cryorepro_datasets.archive_entries:{constant}", info=load_entry(name))


EMPIAR_10002 = ArchiveEntry("empiar-10002")
EMPIAR_10017 = ArchiveEntry("empiar-10017")
EMPIAR_10025 = ArchiveEntry("empiar-10025")
EMPIAR_10204 = ArchiveEntry("empiar-10204")
EMPIAR_10249 = ArchiveEntry("empiar-10249")
EMPIAR_10288 = ArchiveEntry("empiar-10288")
EMPIAR_10305 = ArchiveEntry("empiar-10305")
EMPIAR_10338 = ArchiveEntry("empiar-10338")
EMPIAR_10390 = ArchiveEntry("empiar-10390")
EMPIAR_10612 = ArchiveEntry("empiar-10612")
EMPIAR_10721 = ArchiveEntry("empiar-10721")
