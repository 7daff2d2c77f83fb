"""Where the benchmark's YAML file lies."""

from __future__ import annotations

from pathlib import Path


def path() -> Path:
    """The file installed beside this module."""
    return Path(__file__).with_name("example-ball.yaml")
