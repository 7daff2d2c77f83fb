"""What the archive says of an entry, for a person who looks for files."""

from __future__ import annotations

from cryorepro.workflow.fetch.archive import CachedArchive
from cryorepro.workflow.fetch.empiar import EmpiarEntry, empiar_entry
from cryorepro.workflow.fetch.errors import NotFound
from cryorepro.workflow.fetch.listing import list_folder


def outlook(archive: CachedArchive, folder: str = "") -> list[str]:
    """Lines: EMPIAR's record of the entry, unless a folder is asked for, and the names in the folder.

    Raises:
        FetchError: the archive does not answer.
        InputError: the dataset is not an EMPIAR entry.
    """
    sources, lines = archive.sources, []
    if not folder:
        try:
            lines = _record(empiar_entry(archive.transfer, archive.info.accession.removeprefix("EMPIAR-")))
        except NotFound as error:
            lines = [str(error)]
    prefix = f"{folder.strip('/')}/" if folder else ""
    return lines + [prefix + name for name in list_folder(archive.transfer, sources, folder.strip("/"))]


def _record(entry: EmpiarEntry) -> list[str]:
    lines = [entry.title]
    for images in entry.imagesets:
        shape = f"{images.image_width} x {images.image_height}" if images.image_width else "size not stated"
        lines.append(
            f"{images.name or 'unnamed'}: {images.num_images_or_tilt_series or '?'} images, {shape}, "
            f"{images.frames_per_image or '?'} frames, {images.pixel_width or '?'} A, "
            f"{images.data_format or images.header_format or 'format not stated'}, in {images.directory or '?'}"
        )
    return lines + [f"see also {reference.name}" for reference in entry.cross_references]
