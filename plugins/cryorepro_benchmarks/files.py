"""Paths of the shipped benchmarks: one callable for each, made from its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryorepro.model.shipped import shipped


def _path(name: str) -> Path:
    return shipped("specs") / f"{name}.yaml"


def _named(name: str) -> Callable[[], Path]:
    return partial(_path, name)


empiar_10002 = _named("empiar-10002")
empiar_10025 = _named("empiar-10025")
empiar_10028 = _named("empiar-10028")
empiar_10028_chain = _named("empiar-10028-chain")
empiar_10028_class2d = _named("empiar-10028-class2d")
empiar_10146 = _named("empiar-10146")
empiar_10146_micrographs = _named("empiar-10146-micrographs")
empiar_10204 = _named("empiar-10204")
empiar_10288 = _named("empiar-10288")
empiar_10305 = _named("empiar-10305")
empiar_10338 = _named("empiar-10338")
empiar_10390 = _named("empiar-10390")
