"""Samples the machine while this process itself works, as a stage would be sampled."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryorepro.workflow.timeline.perturbed import perturbations
from cryorepro.workflow.timeline.sampler import FILE
from cryorepro.workflow.timeline.series import Timeline, read_samples

_GRACE_S = 5.0


@dataclass
class Watched:
    """What was seen once the work is over."""

    timeline: Timeline | None = None
    flags: list[dict[str, Any]] = field(default_factory=list)


@contextlib.contextmanager
def watched(name: str) -> Iterator[Watched]:
    """Sample this process and its descendants for as long as the block runs."""
    seen = Watched()
    with tempfile.TemporaryDirectory(prefix="cryorepro-watch-") as directory:
        attempt = Path(directory) / "attempt.json"
        attempt.write_text(json.dumps({"inputs": [], "with_root": True}))
        command = [sys.executable, "-P", "-m", "cryorepro.workflow.timeline.sampler", str(attempt), str(os.getpid())]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(part or str(Path.cwd()) for part in sys.path)}
        sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        began = time.monotonic()
        try:
            yield seen
        finally:
            wall = time.monotonic() - began
            sampler.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                sampler.wait(_GRACE_S)
            sampler.kill()
            sampler.wait()
            seen.timeline = read_samples(Path(directory) / FILE, name, 1)
            seen.flags = [asdict(flag) for flag in perturbations(seen.timeline, wall)]
