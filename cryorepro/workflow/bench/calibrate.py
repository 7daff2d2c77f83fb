"""The machine's own repeatability: a fixed piece of work, repeated for a fixed time."""

from __future__ import annotations

import statistics
import time

from cryorepro.model.bench import Calibration
from cryorepro.workflow.bench.noise import smallest_visible, spread

_SIDE = 512
_FEWEST_BLOCKS = 6


def calibrate(seconds: float, threads: int | None = None) -> Calibration | None:
    """Repeat a transform, a product and a copy (NumPy, about 20 ms) for ``seconds``; None for 0.

    The spread of the blocks says what difference between two times of this machine is more than its noise. Blocks are
    short, so that it is an upper bound for longer work, as far as the noise has no memory; what it drifts by within the
    calibration is added for single times. ``threads`` is only told; the libraries' own settings decide.
    """
    import numpy as np

    if seconds <= 0:
        return None
    generator = np.random.default_rng(1)
    matrix = generator.standard_normal((_SIDE, _SIDE)).astype(np.float32)
    image = generator.standard_normal((4 * _SIDE, _SIDE)).astype(np.float32)
    blocks: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(blocks) < _FEWEST_BLOCKS:
        began = time.perf_counter()
        np.fft.irfft2(np.fft.rfft2(image))
        matrix @ matrix
        image.copy()
        blocks.append(time.perf_counter() - began)
    blocks = blocks[1:]  # the first one warms up
    half = len(blocks) // 2
    first, second = statistics.median(blocks[:half]), statistics.median(blocks[half:])
    relative = spread(blocks) or 0.0
    return Calibration(
        seconds=seconds,
        blocks=len(blocks),
        median_block_seconds=round(statistics.median(blocks), 6),
        spread=round(relative, 5),
        drift=round((second - first) / first, 5),
        smallest_visible=round(smallest_visible(relative), 5),
        smallest_visible_once=round(smallest_visible(relative, 1) + abs(second - first) / first, 5),
        threads=threads,
    )
