"""Decompression apart from I/O, and rates of transforms and matrix products."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

from cryorepro.workflow.bench.files import BenchFiles
from cryorepro.workflow.bench.rounds import Task, Timing
from cryorepro.workflow.bench.sizes import Sizes


class DecodePool:
    """Processes that decode movies lying in shared memory: no disk, no page cache, no copying between them."""

    def __init__(self, paths: Sequence[Path], workers: int) -> None:
        """Load ``paths`` into shared memory and start ``workers`` processes, which import their decoders."""
        self._blocks = [_shared(path) for path in paths]
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        self._pool.submit(os.getpid).result()

    def decode(self) -> int:
        """Decode every movie once; pixels decoded."""
        jobs = [(block.name, size) for block, size in self._blocks]
        return sum(self._pool.map(_decode_shared, jobs))

    def close(self) -> None:
        """End the processes and free the memory."""
        self._pool.shutdown()
        for block, _ in self._blocks:
            block.close()
            block.unlink()


def decode_bytes(content: bytes | memoryview) -> int:
    """Decode all frames of a TIFF or EER movie held in memory, in one thread; pixels decoded."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as movie:
        return sum(int(page.asarray(maxworkers=1).size) for page in movie.pages)


def _decode_shared(job: tuple[str, int]) -> int:
    name, size = job
    block = SharedMemory(name=name)
    try:
        return decode_bytes(bytes(_memory(block)[:size]))
    finally:
        block.close()


def _shared(path: Path) -> tuple[SharedMemory, int]:
    content = path.read_bytes()
    block = SharedMemory(create=True, size=max(1, len(content)))
    _memory(block)[: len(content)] = content
    return block, len(content)


def _memory(block: SharedMemory) -> memoryview:
    assert block.buf is not None  # only after close()
    return block.buf


def decode_tasks(files: BenchFiles, sizes: Sizes, workers: int) -> tuple[list[Task], Callable[[], None]]:
    """Tasks for TIFF and EER, in one process and in ``workers``, and what to call when they are done."""
    pools: list[DecodePool] = []
    tasks = []
    frames = {"tiff": sizes.movie_frames, "eer": sizes.eer_frames}
    for kind, paths in (("tiff", files.tiff), ("eer", files.eer)):
        if not paths:
            continue
        contents = [path.read_bytes() for path in paths]
        pixels = len(paths) * frames[kind] * sizes.movie_px**2
        shape = {"kind": kind, "movies": len(paths), "frames": frames[kind], "side_px": sizes.movie_px}

        def alone(contents: list[bytes] = contents) -> Timing:
            return Timing(checks={"pixels": sum(decode_bytes(content) for content in contents)})

        tags = (kind, "decompression")
        work = {**shape, "processes": 1}
        tasks.append(Task(f"cpu_{kind}_decompress", "cpu", "cpu", work, alone, None, pixels / 1e6, "Mpixel/s", tags))
        if workers > 1:
            pools.append(DecodePool(paths, min(workers, len(paths))))

            def together(pool: DecodePool = pools[-1]) -> Timing:
                return Timing(checks={"pixels": pool.decode()})

            name, work = f"cpu_{kind}_decompress_multi", {**shape, "processes": min(workers, len(paths))}
            tasks.append(Task(name, "cpu", "cpu", work, together, None, pixels / 1e6, "Mpixel/s", (*tags, "multi")))

    def close() -> None:
        for pool in pools:
            pool.close()

    return tasks, close


def rate_tasks(sizes: Sizes, threads: int, device: str) -> list[Task]:
    """Matrix product and forward and back transform of a volume, in torch, single precision."""
    import torch

    n, box = sizes.gemm, sizes.fft_box_px
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(n, n, generator=generator).to(device) for _ in range(2))
    volume = torch.randn(box, box, box, generator=generator).to(device)
    out = torch.empty(n, n, device=device)

    def product() -> Timing:
        torch.matmul(left, right, out=out)
        wait(device)
        return Timing()

    def transform() -> Timing:
        torch.fft.irfftn(torch.fft.rfftn(volume), s=volume.shape)
        wait(device)
        return Timing()

    import math

    group: Any = "gpu" if device != "cpu" else "cpu"
    common = {"threads": threads, "dtype": "float32"}
    flops = 2 * 2.5 * box**3 * math.log2(box**3)  # two real transforms, by the usual count
    tags = ("rate",)
    return [
        Task("gemm", group, device, {**common, "n": n}, product, None, 2 * n**3 / 1e9, "GFLOP/s", tags, warmups=2),
        Task("fft", group, device, {**common, "box_px": box}, transform, None, flops / 1e9, "GFLOP/s", tags, warmups=2),
    ]


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
