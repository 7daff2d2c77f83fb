"""The memory that the correction of one movie took at most, in a process of its own.

    python -m tests.em.devices.peak_motion ROWS COLUMNS FRAMES

prints the bytes that were resident beyond the movie and what was before it, and what the model of the memory says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from cryorepro.em.motion.correct import MotionSettings, correct_movie
from cryorepro.em.motion.footprint import bytes_besides_frames
from cryorepro.em.motion.raw_frames import ArrayFrames
from cryorepro.em.motion.reduced import binning
from tests.em.devices.peak import resident
from tests.em.devices.pretend import GPU, pretend_gpu


def main(rows: int, columns: int, frames: int) -> None:
    """Correct noise, which drifts."""
    torch.set_num_threads(1)
    one = np.random.default_rng(0).poisson(1.0, (rows, columns)).astype(np.uint8)
    movie = np.stack([np.roll(one, number, 1) for number in range(frames)])
    gain = np.ones((rows, columns), dtype=np.float32)
    settings = MotionSettings(1.0, 300.0, np.arange(1.0, frames + 1))
    with pretend_gpu():
        # libraries load parts of themselves with the first work they do
        few = MotionSettings(1.0, 300.0, np.arange(1.0, 5.0))
        correct_movie(ArrayFrames(movie[:4, :256, :256]), few, gain[:256, :256], device=GPU)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before, _ = resident()
        correct_movie(ArrayFrames(movie), settings, gain, device=GPU)
    _, most = resident()
    modelled = bytes_besides_frames(frames, (rows, columns), binning(settings.bfactor_px2, rows, columns))
    print(json.dumps({"measured": most - before - movie.nbytes, "modelled": modelled}))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
