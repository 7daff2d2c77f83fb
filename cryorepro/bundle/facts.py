"""All that a bundle's texts and tables are made from: its sources, read strictly.

Export makes the facts of what it is about to write, and verification makes them of what it was given, by the same
function; every text is then a function of the facts, and can be made again and compared.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from cryorepro.bundle.dataset_facts import DatasetFacts
from cryorepro.bundle.event_models import EVENT_MODELS
from cryorepro.bundle.journal import Journals, hold_to_original, lay_out, parse_events
from cryorepro.bundle.layout import BUNDLE, CLAIMS, DATASET, EVENTS, ORIGINAL, SEAL, SPEC, USAGE
from cryorepro.bundle.strict_json import parse_json
from cryorepro.bundle.usage import Usage, parse_usage
from cryorepro.compare.reproduce import verdict_word
from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.claim import Claim
from cryorepro.model.strict_yaml import load_record
from cryorepro.store.errors import StoreError
from cryorepro.store.event import Event, canonical_json
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.record import run_record

R = TypeVar("R", bound=Record)


class ArtifactInfo(Record):
    """An output of the run that is in the bundle."""

    member: str
    stage: str
    role: str
    run_path: str
    sha256_in_run: str = Field(pattern=r"^[0-9a-f]{64}$")
    redacted: bool


class Author(Record):
    """Whoever answers for the bundle. ``name`` is given by the person who exports."""

    name: str = Field(min_length=1, max_length=200)
    orcid: str | None = Field(None, pattern=r"^\d{4}-\d{4}-\d{4}-\d{3}[\dX]$")
    affiliation: str | None = Field(None, max_length=200)
    affiliation_url: str | None = Field(None, pattern=r"^https?://[^\s<>\"]+$", max_length=200)


class BundleInfo(Record):
    """What export was told, and what it chose."""

    format: int
    cryorepro_version: str
    outputs: list[str]
    authors: list[Author]
    licence: str = Field(pattern=r"^[A-Za-z0-9.+-]{1,60}$", description="SPDX identifier")
    workflow: str | None = Field(None, pattern=r"^https://[^\s<>\"]+$", description="where the crate is registered")
    options: RunOptions
    artifacts: list[ArtifactInfo]
    left_out: list[str] = Field(description="outputs that were asked for and are not here, and why")


@dataclass(frozen=True)
class Facts:
    """See the module. ``record`` is what ``cryorepro show --json`` prints, folded from the bundle's own journal."""

    info: BundleInfo
    benchmark: Benchmark
    claims: dict[str, Claim]
    dataset: DatasetFacts | None
    events: list[Event]
    redacted_events: int
    record: dict[str, Any]
    verdict: str
    usage: dict[str, Usage]

    @property
    def run(self) -> str:
        """The run's identifier."""
        return str(self.record["run"])

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked for."""
        settings: dict[str, Any] = self.record["settings"]
        return settings

    @property
    def ended(self) -> str:
        """When the last event was recorded, ``2026-11-20T11:15:05.123456Z``."""
        return self.events[-1].time


def facts_of(sources: Mapping[str, bytes]) -> Facts:
    """Read the sources of a bundle.

    Raises:
        InputError: one of them is not what it must be; names the member and the field.
        StoreError: the journal's chain or its seal does not hold.
    """
    events = _events(sources[EVENTS])
    redacted = hold_to_original(events, sources[ORIGINAL])
    benchmark = _benchmark(sources[SPEC])
    settings = events[0].data
    digest = hashlib.sha256(sources[SPEC]).hexdigest()
    if settings["spec_sha256"] != digest:
        raise InputError(f"{SPEC}: is not the benchmark that the journal says was run")
    record = _record(sources, str(settings["run_uid"]))
    claims = [_model(Claim, row, CLAIMS) for row in _list(sources[CLAIMS], CLAIMS)]
    dataset = parse_json(sources[DATASET], DATASET)
    usage = {name: parse_usage(name, sources[name]) for name in sorted(sources) if name.startswith(USAGE)}
    return Facts(
        info=_model(BundleInfo, parse_json(sources[BUNDLE], BUNDLE), BUNDLE),
        benchmark=benchmark,
        claims={claim.id: claim for claim in claims},
        dataset=None if dataset is None else _model(DatasetFacts, dataset, DATASET),
        events=events,
        redacted_events=redacted,
        record=record,
        verdict=verdict_word(record, benchmark),
        usage=usage,
    )


def _events(content: bytes) -> list[Event]:
    events = parse_events(content)
    for event in events:
        model = EVENT_MODELS.get(event.type)
        if model is None:
            if event.data:
                raise InputError(f"{EVENTS}: event {event.seq} is of a kind that no bundle holds ({event.type})")
            continue
        try:
            model.model_validate_json(canonical_json(event.data), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "data"
            raise InputError(f"{EVENTS}: event {event.seq} ({event.type}), field '{field}': {first['msg']}") from error
    if events[0].type != "run_created" or events[-1].type != "run_ended":
        raise InputError(f"{EVENTS}: not the journal of a run from its beginning to its end")
    return events


def _record(sources: Mapping[str, bytes], uid: str) -> dict[str, Any]:
    if not uid or "/" in uid or uid.startswith("."):
        raise InputError(f"{EVENTS}: the run's identifier is no name")
    with tempfile.TemporaryDirectory(prefix="cryorepro-bundle-") as folder:
        directory = Path(folder) / uid
        directory.mkdir()
        lay_out(Journals(sources[EVENTS], sources[SEAL], sources[ORIGINAL]), directory)
        record = run_record(directory)
    if not record["integrity"]["intact"] or not record["integrity"]["sealed"]:
        reason = str(record["integrity"]["reason"]).replace(str(directory) + "/", "journal/")
        raise StoreError(reason or "the run was not sealed")
    return record


def _benchmark(content: bytes) -> Benchmark:
    with tempfile.TemporaryDirectory(prefix="cryorepro-bundle-") as folder:
        path = Path(folder) / SPEC
        path.write_bytes(content)
        try:
            return load_record(path, Benchmark)
        except InputError as error:
            raise InputError(str(error).replace(f"{folder}/", "")) from error


def _list(content: bytes, name: str) -> list[Any]:
    value = parse_json(content, name)
    if not isinstance(value, list):
        raise InputError(f"{name}: a list was expected")
    return value


def _model(model: type[R], value: Any, name: str) -> R:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the record"
        raise InputError(f"{name}: field '{field}': {first['msg']}") from error
