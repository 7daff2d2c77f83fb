"""The machine's fingerprint: every probe run in isolation, its failure recorded like its success."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro.model.fingerprint import ProbeResult
from cryorepro.plugins.catalogue import Catalogue, Registered
from cryorepro.plugins.doctor_import import task_of
from cryorepro.plugins.isolation import Answer, run_isolated
from cryorepro.plugins.types import Probe
from cryorepro.workflow.redact import Redactor

PROBE_TIMEOUT_S = 15.0
LARGEST_BYTES = 1_000_000
"""A longer reading is a fault of the probe; the whole of one laptop's is near 20 kB."""


def take_fingerprint(
    catalogue: Catalogue, roles: Mapping[str, Path], timeout_s: float = PROBE_TIMEOUT_S
) -> list[ProbeResult]:
    """Run every probe of ``catalogue``, by name, in another process; see :func:`take_with_raw`."""
    return take_with_raw(catalogue, roles, timeout_s)[0]


def take_with_raw(
    catalogue: Catalogue, roles: Mapping[str, Path], timeout_s: float = PROBE_TIMEOUT_S
) -> tuple[list[ProbeResult], dict[str, dict[str, Any]]]:
    """The fingerprint, and each probe's raw readings with the version of what parsed them.

    A probe that raises, ends its process, takes longer than ``timeout_s`` seconds or gives what is not plain
    JSON has status ``failed`` with the reason. In the fingerprint, home directory, user and host name and the
    directories in ``roles`` are replaced by placeholders in every text, whatever the probe. Raw readings are as
    read: they can name users, hosts and paths, and are for the eyes of this machine's owner only.

    Args:
        catalogue: whose probes to run.
        roles: directories the run uses by role (``input``, ``scratch``, ``output``); they need not exist yet.
        timeout_s: wall seconds for each probe.
    """
    probes = catalogue.all(Probe)
    places = {role: str(path.absolute()) for role, path in roles.items()}
    tasks = [{"entry": task_of(probe), "roles": places} for probe in probes]
    answers = run_isolated("cryorepro.workflow.probe_worker", tasks, timeout_s)
    redactor = Redactor.of_this_machine(places)
    pairs = list(zip(probes, answers, strict=True))
    raw = {
        probe.name: {"parser": answer.value.get("parser"), "raw": answer.value["raw"]}
        for probe, answer in pairs
        if isinstance(answer.value, dict) and answer.value.get("raw")
    }
    return [_result(probe, answer, redactor) for probe, answer in pairs], raw


def _result(probe: Registered[Probe], answer: Answer, redactor: Redactor) -> ProbeResult:
    error = answer.error or answer.value.get("error")
    data = {} if error else answer.value["data"]
    size = len(json.dumps(data))
    if size > LARGEST_BYTES:
        error, data = f"gave {size} bytes, more than {LARGEST_BYTES}", {}
    return ProbeResult(
        name=probe.name,
        plugin=f"{probe.plugin} ({probe.distribution} {probe.version})",
        status="failed" if error else "ok",
        seconds=round(answer.seconds, 6),
        error=redactor.sentence(error) if error else None,
        parser=None if answer.error else answer.value.get("parser"),
        data=redactor.value(data),
    )
