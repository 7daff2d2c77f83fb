"""``cryorepro fetch``: bring a tier of a dataset into the cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryorepro.em.formats.errata import Erratum, load_errata
from cryorepro.model.shipped import shipped
from cryorepro.workflow.fetch.archive import CachedArchive
from cryorepro.workflow.fetch.cache import DEPOSIT, SUBSETS
from cryorepro.workflow.fetch.emdb import emdb_paths, fetch_emdb, fetch_model
from cryorepro.workflow.fetch.errors import NotFound
from cryorepro.workflow.fetch.manifest import safe_path, sha256_of
from cryorepro.workflow.fetch.movies import write_movie_tables
from cryorepro.workflow.fetch.orders import Order
from cryorepro.workflow.fetch.parallel import each
from cryorepro.workflow.fetch.space import require_space
from cryorepro.workflow.fetch.tiers import TierFiles, movie_files, require_layout


@dataclass
class Delivery:
    """What came: where, which files, and what a person should know."""

    folder: Path
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def deliver(order: Order, archive: CachedArchive) -> Delivery:
    """Fetch the tier and its extras.

    Raises:
        FetchError: something cannot be had; what came is kept.
        InputError: the tier cannot be fetched, or the order does not fit it.
    """
    layout = require_layout(order.info, order.tier)
    delivery = Delivery(archive.cache.root)
    if order.by_ranges:
        assert layout.particles_star is not None
        errata, pixel = table_errata(order.info.name), order.info.pixel_size_angstrom
        folder = archive.particles(layout.particles_star, order.number, order.seed, errata, pixel)
        delivery.folder = folder
        delivery.files.append(f"{DEPOSIT}/{layout.particles_star}")
        delivery.files += [str(path.relative_to(archive.cache.root)) for path in sorted(folder.iterdir())]
    else:
        files = movie_files(archive.transfer, archive.sources, order.info, layout, order.tier, order.number, order.seed)
        _fetch_whole(order, archive, files, delivery)
    _fetch_extras(order, archive, delivery)
    if order.tier == "full":
        archive.complete(delivery.files)
    return delivery


def deliver_files(paths: list[str], archive: CachedArchive) -> Delivery:
    """Fetch files of the entry by their paths, whatever is known of its layout.

    Raises:
        FetchError: one cannot be had.
        InputError: one is not a path inside the entry.
    """
    delivery = Delivery(archive.cache.root / DEPOSIT)
    places = {f"{DEPOSIT}/{safe_path(path)}": archive.sources.urls(path) for path in paths}
    _expect(archive, places, set())
    for relative, urls in places.items():
        archive.fetch(relative, urls)
        delivery.files.append(relative)
    return delivery


def table_errata(dataset: str) -> tuple[Erratum, ...]:
    """Defects of the dataset's tables that are cured while reading; see ``registry/errata/``."""
    path = shipped("registry") / "errata" / f"{dataset}.yaml"
    return load_errata(path) if path.is_file() else ()


def _fetch_whole(order: Order, archive: CachedArchive, files: TierFiles, delivery: Delivery) -> None:
    places = {f"{DEPOSIT}/{path}": archive.sources.urls(path) for path in files.whole}
    places |= {f"bundles/{bundle.url.rsplit('/', 1)[-1]}": [bundle.url] for bundle in files.bundles}
    optional = {f"{DEPOSIT}/{path}" for path in order.info.layout.metadata} if order.info.layout else set()
    absent = _expect(archive, places, optional)
    delivery.notes += [f"{name}: the archive has no such file; the tier does not need it" for name in sorted(absent)]
    for relative, urls in places.items():
        if relative not in absent:
            archive.fetch(relative, urls)
            delivery.files.append(relative)
    if files.discarded:
        delivery.notes.append(f"left out because of an erratum: {', '.join(files.discarded)}")
    if files.movies and order.tier == "subset":
        name = f"{SUBSETS}/movies-{len(files.movies)}-seed{order.seed}-of{files.available}"
        omitted = write_movie_tables(archive.cache.path(name), order.info, files.movies)
        delivery.folder = archive.cache.path(name)
        delivery.files += _record_tables(archive, name)
        if omitted:
            delivery.notes.append(f"left out of the table, because no source states them: {', '.join(omitted)}")


def _record_tables(archive: CachedArchive, folder: str) -> list[str]:
    """Record the tables, which follow from the archive's list and the seed."""
    names = [f"{folder}/{path.name}" for path in sorted(archive.cache.path(folder).iterdir())]
    for name in names:
        path = archive.cache.path(name)
        size, digest = path.stat().st_size, sha256_of(path)
        before = archive.cache.records().get(name)
        if before is None or (before.size_bytes, before.sha256) != (size, digest):
            archive.cache.record(name, size, digest, "made from the archive's list")
    return names


def _expect(archive: CachedArchive, places: dict[str, list[str]], optional: set[str]) -> set[str]:
    """Learn the sizes of everything first: the room on the disk is checked, and the bar knows its end.

    Returns those of `optional` that the archive does not have.
    """
    transfer, cache = archive.transfer, archive.cache
    asked = {name: urls for name, urls in places.items() if cache.present(name) is None}
    there = sum(record.size_bytes for name in places if (record := cache.present(name)) is not None)
    transfer.notice(f"asking for the sizes of {len(asked)} files")

    def size(name: str) -> int | None | NotFound:
        try:
            return transfer.stat_first(asked[name]).size_bytes
        except NotFound as error:
            if name not in optional:
                raise
            return error

    sizes = dict(zip(asked, each(size, list(asked), transfer.settings.connections), strict=True))
    absent = {name for name, one in sizes.items() if isinstance(one, NotFound)}
    known = sum(one for one in sizes.values() if isinstance(one, int))
    transfer.meter.expect(known + there if None not in sizes.values() else None)
    cache.root.mkdir(parents=True, exist_ok=True)
    partial = sum(path.stat().st_blocks * 512 for path in cache.root.rglob(".*.part"))
    require_space(cache.root, known - partial, transfer.settings.reserve_bytes, archive.info.name)
    return absent


def _fetch_extras(order: Order, archive: CachedArchive, delivery: Delivery) -> None:
    info, wanted = order.info, [extra for extra in order.extras if extra != "model"]
    for accession in info.emdb[:1] if wanted else []:
        paths = emdb_paths(archive.transfer, accession, wanted)
        fetched = fetch_emdb(archive.cache, archive.transfer, info.name, accession, paths)
        delivery.files += [str(path.relative_to(archive.cache.root)) for path in fetched]
    if wanted and not info.emdb:
        delivery.notes.append(f"no EMDB entry is known for {info.name}")
    if "model" in order.extras:
        for pdb in info.pdb:
            path = fetch_model(archive.cache, archive.transfer, info.name, pdb)
            delivery.files.append(str(path.relative_to(archive.cache.root)))
        if not info.pdb:
            delivery.notes.append(f"no PDB entry is known for {info.name}")
