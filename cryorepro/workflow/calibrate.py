"""The machine's own repeatability, measured once for a machine and start of its system, and kept in the store.

    python -m cryorepro.workflow.calibrate JOB.json

One process measures at a time: what two would measure beside each other is each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cryorepro.em.errors import InputError
from cryorepro.model.bench import RunCalibration
from cryorepro.store.errors import StoreError
from cryorepro.store.event import canonical_json
from cryorepro.store.files import write_atomically
from cryorepro.workflow.bench.calibrate import calibrate
from cryorepro.workflow.bench.watch import watched
from cryorepro.workflow.files import read_json, write_json

KEPT_SECONDS = 7 * 86_400.0
KEPT_WHEN_PERTURBED_SECONDS = 3_600.0
"""A calibration that others disturbed says how this machine is at such a time, not how it is."""
FUTURE_SECONDS = 60.0
"""A file dated later than this was made by a clock that was wrong."""
LOCK_WAIT_SECONDS = 60.0
_DECIDES = {
    "cpu": ("model", "stepping", "microcode", "flags", "affinity", "cgroup_quota_cores", "smt_active", "mitigations"),
    "memory": ("usable_bytes", "transparent_huge_pages"),
    "system": ("kernel_release",),
    "pytorch": ("numpy", "environment"),
}
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def main(job_file: Path) -> int:
    """Calibrate, or take what was measured meanwhile, and write it to the job's ``result``."""
    job = read_json(job_file)
    found = repeatability(Path(job["folder"]), job["key"], float(job["seconds"]), int(job["threads"]))
    write_json(Path(job["result"]), found.model_dump(mode="json"))
    return 0


def machine_key(probes: Sequence[Mapping[str, Any]], threads: int, seconds: float) -> str:
    """Digest of what decides how well this machine repeats itself, and of when its system was started."""
    measured = {probe["name"]: probe["data"] for probe in probes}
    decides = {
        name: {field: measured.get(name, {}).get(field) for field in fields} for name, fields in _DECIDES.items()
    }
    boot = _BOOT.read_text().strip() if _BOOT.is_file() else ""
    content = {"machine": decides, "boot": boot, "threads": threads, "seconds": seconds}
    return hashlib.sha256(canonical_json(content)).hexdigest()[:16]


def repeatability(folder: Path, key: str, seconds: float, threads: int) -> RunCalibration:
    """What ``folder`` has for ``key``, or a new measurement, which is kept there when it can be.

    Raises:
        InputError: ``seconds`` is 0.
    """
    with _alone(folder):
        kept = load(folder, key)
        if kept is not None:
            return kept
        with watched("calibration") as seen:
            measured = calibrate(seconds, threads)
        if measured is None:
            raise InputError("a calibration of 0 s measures nothing")
        found = RunCalibration(
            **measured.model_dump(),
            key=key,
            measured_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            measured_for_this_run=True,
            perturbed=tuple(dict.fromkeys(flag["reason"] for flag in seen.flags)),
        )
        with suppress(StoreError):  # a full disk costs the next run a calibration, not this one its record
            write_atomically(folder / f"{key}.json", found.model_dump_json(indent=1).encode())
        return found


def load(folder: Path, key: str) -> RunCalibration | None:
    """The calibration kept for ``key``; None when there is none, it is too old, or it is not one."""
    path = folder / f"{key}.json"
    try:
        found = RunCalibration.model_validate_json(path.read_bytes())
        measured = datetime.strptime(found.measured_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (OSError, ValidationError, ValueError):
        return None
    age = time.time() - measured.timestamp()
    longest = KEPT_WHEN_PERTURBED_SECONDS if found.perturbed else KEPT_SECONDS
    if found.key != key or not -FUTURE_SECONDS <= age <= longest:
        return None
    return found.model_copy(update={"measured_for_this_run": False})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; after a minute, or where there is no lock to be had, go on without."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("a")
    except OSError:
        yield
        return
    with handle:
        end = time.monotonic() + LOCK_WAIT_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                break
        yield


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
