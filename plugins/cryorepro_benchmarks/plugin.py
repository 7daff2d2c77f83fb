"""The benchmarks that ship with cryorepro."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Spec

CRYOREPRO_API = "1"


@hookimpl
def cryorepro_specs() -> Iterable[Spec]:
    """One descriptor for each shipped YAML file."""
    files = "cryorepro_benchmarks.files"
    yield Spec("empiar-10028", "RELION Class3D of the Plasmodium 80S ribosome", f"{files}:empiar_10028")
    yield Spec("empiar-10146", "Refinement of real apoferritin particles against the model", f"{files}:empiar_10146")
