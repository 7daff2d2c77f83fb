"""Paths of the shipped benchmarks."""

from __future__ import annotations

from pathlib import Path

from cryorepro.model.shipped import shipped


def empiar_10028() -> Path:
    """RELION Class3D of EMPIAR-10028."""
    return shipped("specs") / "empiar-10028.yaml"


def empiar_10146() -> Path:
    """Refinement of apoferritin, EMPIAR-10146."""
    return shipped("specs") / "empiar-10146.yaml"
