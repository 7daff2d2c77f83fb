"""Named random streams: every draw of a simulation comes from its seed and the name of what is drawn.

Two streams of one seed are independent, and adding a stream leaves the others as they were.
"""

from __future__ import annotations

import hashlib

import numpy as np


def random_stream(seed: int, name: str) -> np.random.Generator:
    """The generator (PCG64) of the stream `name` under `seed`; equal arguments give equal draws.

    Args:
        seed: Non-negative; the seed of the whole simulation.
        name: What is drawn, such as `orientations`. Hashed with SHA-256, since Python's own hash is salted.
    """
    words = np.frombuffer(hashlib.sha256(name.encode("utf-8")).digest()[:16], dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words.tolist()])))
