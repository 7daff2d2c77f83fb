"""The datasets that ship with cryorepro."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Dataset
from cryorepro_datasets.empiar_10028 import DATASET as EMPIAR_10028
from cryorepro_datasets.empiar_10146 import DATASET as EMPIAR_10146

CRYOREPRO_API = "1"


@hookimpl
def cryorepro_datasets() -> Iterable[Dataset]:
    """The ribosome of EMPIAR-10028 and the apoferritin of EMPIAR-10146."""
    yield EMPIAR_10028
    yield EMPIAR_10146
