"""`cryorepro bench` against known tools on the same machine, in turns.

    PYTHONPATH=. python benchmarks/machine/against_tools.py DIRECTORY [PAIRS]

One file of 1 GB is read in blocks of 1 MiB past the page cache, by the benchmark's own reader, dd and fio; and front to
back through an emptied cache, which is how programs read, beside dd past it. The matrix product against a bare torch
loop, TIFF decoding against tifffile alone. Prints one JSON object; a ratio above 1 means that ours was slower.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tifffile
import torch

from benchmarks.machine.paired import in_turns
from cryorepro.workflow.bench.files import make_files
from cryorepro.workflow.bench.fs import read_direct, read_whole
from cryorepro.workflow.bench.processor import decode_bytes, rate_tasks
from cryorepro.workflow.bench.sizes import SIZES
from cryorepro.workflow.bench.watch import watched
from cryorepro.workflow.timeline.residency import drop

SIZE = SIZES["default"].model_copy(update={"movies": 1, "particles": 4000, "particle_files": 1, "eer_frames": 1})


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cold(path: Path) -> float:
    """As the tests of sequential reading do it."""
    drop([path])
    return timed(lambda: read_whole([path]))


def dd(path: Path) -> float:
    """Seconds by dd's own count, without the start of its process."""
    command = ["dd", f"if={path}", "of=/dev/null", "bs=1M", "iflag=direct"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C", "PATH": os.defpath})
    return float(text.stderr.strip().splitlines()[-1].split(", ")[-2].split()[0])


def fio(path: Path) -> float:
    command = [
        "fio", "--name=read", f"--filename={path}", "--rw=read", "--bs=1M", "--direct=1", "--readonly",
        "--ioengine=psync", "--output-format=json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["jobs"][0]["read"]["runtime"]) / 1000.0


def main(directory: Path, pairs: int) -> None:
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=directory) as place, watched("against tools") as seen:
        files = make_files(Path(place), SIZE)
        stack, movie = files.stacks[0], files.tiff[0].read_bytes()
        os.sync()
        found["direct_read_vs_dd"] = in_turns(lambda: timed(lambda: read_direct([stack])), lambda: dd(stack), pairs)
        if shutil.which("fio"):
            found["direct_read_vs_fio"] = in_turns(
                lambda: timed(lambda: read_direct([stack])), lambda: fio(stack), pairs
            )
        found["cold_read_vs_dd"] = in_turns(lambda: cold(stack), lambda: dd(stack), pairs)
        gemm = next(task for task in rate_tasks(SIZE, threads, "cpu") if task.name == "gemm")
        left, right = (torch.randn(SIZE.gemm, SIZE.gemm) for _ in range(2))
        found["gemm_vs_torch"] = in_turns(lambda: timed(gemm.run), lambda: timed(lambda: left @ right), 5 * pairs)

        def alone() -> None:
            with tifffile.TiffFile(io.BytesIO(movie)) as opened:
                for page in opened.pages:
                    page.asarray(maxworkers=1)

        found["tiff_vs_tifffile"] = in_turns(lambda: timed(lambda: decode_bytes(movie)), lambda: timed(alone), pairs)
    found["perturbed"] = seen.flags
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 15)
