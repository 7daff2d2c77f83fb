"""Fingerprints from where people keep them: a run of the store, a run's record, or a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cryorepro.compare.json_files import read_foreign_json
from cryorepro.em.errors import InputError
from cryorepro.model.fingerprint import ProbeResult
from cryorepro.store.home import Home
from cryorepro.workflow.record import run_record

LARGEST_BYTES = 64_000_000
_PROBES = TypeAdapter(list[ProbeResult])


def find_fingerprint(name: str) -> list[ProbeResult]:
    """The fingerprint of the run ``name``, or of the JSON file ``name``.

    A file holds what ``cryorepro fingerprint --json`` or ``cryorepro show RUN --json`` prints, or a record of
    ``cryorepro bench``.

    Raises:
        InputError: the file is missing, too large or holds no fingerprint.
        StoreError: there is no such run.
    """
    path = Path(name)
    if path.suffix == ".json" or "/" in name:
        return read_fingerprint(path)
    probes = run_record(Home.locate().find_run(name))["fingerprint"]
    if not probes:
        raise InputError(f"run {name} recorded no fingerprint")
    return _checked(probes, f"run {name}")


def read_fingerprint(path: Path) -> list[ProbeResult]:
    """The fingerprint in a JSON file; errors as :func:`find_fingerprint`."""
    content = read_foreign_json(path, LARGEST_BYTES, "a fingerprint")
    if isinstance(content, dict):
        content = content.get("fingerprint")
    if not isinstance(content, list) or not content:
        raise InputError(f"{path}: holds no fingerprint (a list of probes, or a record with one)")
    return _checked(content, str(path))


def _checked(content: list[Any], where: str) -> list[ProbeResult]:
    try:
        return _PROBES.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: fingerprint.{place}: {first['msg']}") from error
