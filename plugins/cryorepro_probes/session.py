"""Locale and clock: what a decimal comma or a wandering clock could spoil. The name of the time zone is left out."""

from __future__ import annotations

import ctypes
import locale
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, keep

_UNSYNCHRONISED = 0x0040
"""STA_UNSYNC of <linux/timex.h>."""

_NANOSECONDS = 0x2000
"""STA_NANO: the offset is in nanoseconds, else in microseconds."""


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex``, with room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    ]


class SessionProbe(Recorded):
    """Locale, UTC offset, and how far the kernel believes its clock to be off."""

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """``clock.offset_us`` is what the time daemon still has to correct; no server is asked."""
        names = ("LANG", "LC_ALL", "LC_NUMERIC", "LC_CTYPE")
        values = {name: os.environ.get(name) for name in names}
        return {
            "locale": {name: value if re.fullmatch(r"[\w.@-]{0,32}", value or "") else "(withheld)"
                       for name, value in values.items()},
            "decimal_point": str(locale.localeconv()["decimal_point"]),
            "utc_offset_minutes": time.localtime().tm_gmtoff // 60,
            "clock": clock(),
        }  # fmt: skip


def clock() -> dict[str, Any]:
    """State of the kernel's clock by adjtimex(2) with nothing to set; empty where that is not allowed."""
    state = _Timex()
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.adjtimex(ctypes.byref(state))
    if result < 0:
        return {}
    keep("adjtimex", f"{result} {state.offset} {state.freq} {state.maxerror} {state.esterror} {state.status:#x}")
    per_us = 1000.0 if state.status & _NANOSECONDS else 1.0
    return {
        "synchronised": not state.status & _UNSYNCHRONISED,
        "offset_us": state.offset / per_us,
        "maximum_error_us": state.maxerror,
        "estimated_error_us": state.esterror,
    }
