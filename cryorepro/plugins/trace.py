"""What each hook call took and gave.

Pluggy's own call monitoring sees a hook return its generator, not the work done while the generator is read;
the loader therefore reports each call here once its descriptors are in hand.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

TRACE_VARIABLE = "CRYOREPRO_TRACE_PLUGINS"


@dataclass(frozen=True)
class HookCall:
    """One import of a plugin (hook ``import``) or one hook call, from the call to its last descriptor."""

    plugin: str
    distribution: str
    hook: str
    seconds: float
    descriptors: tuple[str, ...] = ()
    error: str | None = None

    def line(self) -> str:
        """For people: ``datasets (cryorepro)  cryorepro_datasets  0.4 ms  empiar-10028, empiar-10146``."""
        result = f"FAILED {self.error}" if self.error else ", ".join(self.descriptors)
        source = f"{self.plugin} ({self.distribution})"
        return f"{source}  {self.hook}  {self.seconds * 1e3:.1f} ms  {result}".rstrip()


def traced(environment: Mapping[str, str] | None = None) -> bool:
    """Whether CRYOREPRO_TRACE_PLUGINS asks for hook calls on standard error."""
    value = (os.environ if environment is None else environment).get(TRACE_VARIABLE, "")
    return value not in ("", "0")


def report(call: HookCall, environment: Mapping[str, str] | None = None) -> None:
    """Print ``call`` to standard error when tracing is on."""
    if traced(environment):
        print(f"cryorepro trace: {call.line()}", file=sys.stderr)
