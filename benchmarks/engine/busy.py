"""How busy a device is, looked at once a second beside the work."""

from __future__ import annotations

import subprocess
import threading
import time
from types import TracebackType

import psutil
import torch

_SECONDS = 1.0


class Watch:
    """Samples, while it is entered, of (seconds since the start, percent busy); percent is -1 where nobody can tell."""

    def __init__(self, device: torch.device) -> None:
        """Watch ``device``; of the CPU, this process with its workers."""
        self.samples: list[tuple[float, float]] = []
        self._device = device
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        began, before = time.monotonic(), _cpu_seconds()
        last = began
        while not self._ended.wait(_SECONDS):
            now, used = time.monotonic(), _cpu_seconds()
            busy = _gpu_percent(self._device) if self._device.type == "cuda" else 100.0 * (used - before) / (now - last)
            last, before = now, used
            self.samples.append((round(now - began, 2), round(busy, 1)))


def _cpu_seconds() -> float:
    own = psutil.Process()
    total = 0.0
    for process in [own, *own.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _gpu_percent(device: torch.device) -> float:
    command = [
        "nvidia-smi", f"--id={device.index or 0}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"
    ]  # fmt: skip
    try:
        return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return -1.0
