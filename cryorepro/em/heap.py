"""What the C library does with memory that is given back to it."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Ask the C library to reuse freed blocks instead of returning them to the kernel.

    Large arrays are made and dropped all the time here; mapping each anew cost a sixth of the CPU time. Does
    nothing where the C library has no ``mallopt``.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if adjust is not None:
        adjust(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        adjust(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        adjust(_M_TOP_PAD, _KEPT_BYTES >> 4)
