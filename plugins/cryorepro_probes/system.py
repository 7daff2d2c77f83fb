"""Operating system and hardware product. Serial numbers, host names and the kernel's builder are left out."""

from __future__ import annotations

import platform
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryorepro_probes.kernel import Recorded, key_values, read

_LIMITS = {
    "open_files": resource.RLIMIT_NOFILE,
    "address_space_bytes": resource.RLIMIT_AS,
    "locked_memory_bytes": resource.RLIMIT_MEMLOCK,
    "stack_bytes": resource.RLIMIT_STACK,
}


class SystemProbe(Recorded):
    """Kernel, distribution, C library, product names, clock source, limits."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def measure(self, roles: Mapping[str, Path]) -> dict[str, Any]:
        """Limits are the soft ones of this process; None means unlimited."""
        release = key_values(read(self.root / "etc/os-release"), "=")
        library, library_version = platform.libc_ver()
        return {
            "kernel": platform.system(),
            "kernel_release": platform.release(),
            "architecture": platform.machine(),
            "distribution": {key.lower(): release.get(key) for key in ("ID", "VERSION_ID", "PRETTY_NAME")},
            "libc": f"{library} {library_version}".strip() or None,
            "hardware_vendor": self._product("sys_vendor"),
            "hardware_product": self._product("product_name"),
            "hypervisor": read(self.root / "sys/hypervisor/type"),
            "clock_source": read(self.root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
            "aslr": read(self.root / "proc/sys/kernel/randomize_va_space"),
            "limits": {name: _soft(limit) for name, limit in _LIMITS.items()},
        }

    def _product(self, name: str) -> str | None:
        return read(self.root / "sys/class/dmi/id" / name) or None


def _soft(limit: int) -> int | None:
    soft, _ = resource.getrlimit(limit)
    return None if soft == resource.RLIM_INFINITY else soft
