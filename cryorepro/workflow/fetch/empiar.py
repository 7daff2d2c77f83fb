"""EMPIAR's own record of an entry: its image sets, by the archive's API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cryorepro.workflow.fetch.errors import FetchError
from cryorepro.workflow.fetch.sources import EMPIAR_API
from cryorepro.workflow.fetch.text import read_json
from cryorepro.workflow.fetch.transfer import Transfer


class _Remote(BaseModel):
    """A record of somebody else: fields that are not needed may come and go."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


class ImageSet(_Remote):
    """One image set as EMPIAR lists it. Its directory need not be where the files really are."""

    name: str | None = None
    directory: str | None = None
    category: str | None = None
    header_format: str | None = None
    data_format: str | None = None
    num_images_or_tilt_series: int | None = None
    frames_per_image: int | None = None
    pixel_width: float | None = None
    image_width: int | None = None
    image_height: int | None = None


class CrossReference(_Remote):
    """An entry of another archive."""

    name: str


class EmpiarEntry(_Remote):
    """EMPIAR's record of an entry."""

    title: str
    imagesets: list[ImageSet]
    cross_references: list[CrossReference] = []


def empiar_entry(transfer: Transfer, number: str) -> EmpiarEntry:
    """What EMPIAR says of entry ``number``, such as ``10028``.

    Raises:
        FetchError: EMPIAR does not answer, or its record is not of the form it documents.
    """
    return parse_entry(read_json(transfer, f"{EMPIAR_API}{number}/"), number)


def parse_entry(content: dict[str, Any], number: str) -> EmpiarEntry:
    """Check EMPIAR's answer, which is keyed by the accession."""
    record = content.get(f"EMPIAR-{number}")
    try:
        return EmpiarEntry.model_validate(record)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the record"
        raise FetchError(f"EMPIAR's record of entry {number} is not of the form it documents ({field})") from error
