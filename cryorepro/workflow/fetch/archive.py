"""The archive entry of a dataset as plugins see it: :class:`~cryorepro.plugins.interfaces.Archive`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.em.formats.errata import Erratum
from cryorepro.model.dataset import DatasetInfo
from cryorepro.workflow.fetch.cache import DEPOSIT, Cache
from cryorepro.workflow.fetch.emdb import fetch_emdb, map_path
from cryorepro.workflow.fetch.errors import WrongContent
from cryorepro.workflow.fetch.files import fetch_file
from cryorepro.workflow.fetch.manifest import expected, known_files, sha256_of
from cryorepro.workflow.fetch.particles import ParticleSelection, fetch_particles
from cryorepro.workflow.fetch.sources import Sources, empiar
from cryorepro.workflow.fetch.transfer import Transfer
from cryorepro.workflow.files import read_json, write_json

_FULL = ".full.json"


class CachedArchive:
    """Reads the entry of `info` into the cache below `cache_root`."""

    def __init__(self, cache_root: Path, transfer: Transfer, info: DatasetInfo) -> None:
        self.cache = Cache(cache_root / info.name)
        self.transfer, self.info = transfer, info
        self._known = known_files(info.name)

    @property
    def sources(self) -> Sources:
        """Where the entry's files are. Raises InputError if the dataset is not an EMPIAR entry."""
        number = self.info.accession.removeprefix("EMPIAR-")
        if not (number.isascii() and number.isdigit()) or number == self.info.accession:
            raise InputError(f"{self.info.name}: {self.info.accession} is not an EMPIAR accession")
        return empiar(number)

    def file(self, path: str) -> Path:
        """A file of the deposit, whole; its bytes are those that were recorded."""
        relative = f"{DEPOSIT}/{path}"
        fetched = self.fetch(relative, self.sources.urls(path))
        return self._unchanged(relative, fetched)

    def fetch(self, relative: str, urls: Sequence[str]) -> Path:
        """A file from anywhere, at `relative` of the dataset's cache."""
        known = expected(self._known, relative.removeprefix(f"{DEPOSIT}/"))
        return fetch_file(self.cache, self.transfer, relative, urls, known)

    def emdb_map(self, accession: str) -> Path:
        """The primary map of an EMDB entry, compressed as EMDB has it."""
        return fetch_emdb(self.cache, self.transfer, self.info.name, accession, [map_path(accession)])[0]

    def particles(
        self,
        star_path: str,
        count: int,
        seed: int,
        errata: Sequence[Erratum] = (),
        pixel_size_angstrom: float | None = None,
    ) -> Path:
        """A seeded selection of particles; see :func:`~cryorepro.workflow.fetch.particles.fetch_particles`."""
        star = self.file(star_path)
        wanted = ParticleSelection(star, star_path, count, seed, tuple(errata), pixel_size_angstrom)
        folder = fetch_particles(self.cache, self.transfer, self.sources, wanted)
        for path in folder.iterdir():
            self._unchanged(str(path.relative_to(self.cache.root)), path)
        return folder

    def _unchanged(self, relative: str, path: Path) -> Path:
        """Read a cached file again before a run builds on it. Raises WrongContent if it is not what was recorded."""
        record = self.cache.records().get(relative)
        if record is None or sha256_of(path) != record.sha256:
            raise WrongContent(f"{path}: changed since it was fetched; delete it to fetch it again")
        return path

    def local_copy(self) -> Path | None:
        """The folder of the deposit, when all files of tier ``full`` were fetched and are there."""
        marker = self.cache.root / _FULL
        if not marker.is_file():
            return None
        files: list[Any] = read_json(marker)["files"]
        records = self.cache.records()
        for name in files:
            record, path = records.get(str(name)), self.cache.path(str(name))
            if record is None or not path.is_file() or path.stat().st_size != record.size_bytes:
                return None
        return self.cache.root / DEPOSIT

    def complete(self, files: Sequence[str]) -> None:
        """Write down that tier ``full`` is there."""
        write_json(self.cache.root / _FULL, {"files": sorted(files)})
