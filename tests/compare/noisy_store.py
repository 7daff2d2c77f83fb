"""A store with the toy installed and benchmarks of a sum with noise, for commands as a person would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

SPEC = """
schema_version: 1
name: noisy
version: "1.0"
title: A sum with noise
summary: Sums a hundred numbers, with noise.
dataset: toy
default_runner: toy
default_tier: twin
sources: [arithmetic]
tiers:
  twin: {}
stages:
  - name: sum
    kind: sum
    inputs: {numbers: data.numbers}
    parameters: {steps: 10}
outcomes:
  - name: value
    metric: %s
    stage: sum
"""
EXPECT = """
    expect:
      twin:
        value: 4950
        tolerance: {unit: counts, margin: 3, reason: "Noise of one count leaves three counts of room."}
"""


class Answer(NamedTuple):
    """What a command said."""

    code: int
    content: Any
    error: str


class Store:
    """A store with the toy installed, in which commands run as a person would run them."""

    def __init__(self, root: Path, site: Path) -> None:
        self.root = root
        kept = {name: value for name, value in os.environ.items() if name != "CRYOREPRO_CACHE"}
        own = {"CRYOREPRO_HOME": str(root / "store"), "PYTHONPATH": str(site), "CRYOREPRO_DISABLE_PLUGINS": "probes"}
        self.environment = {**kept, **own}
        for name, metric, tail in (
            ("noisy", "toy_value", EXPECT), ("exact", "toy_total", EXPECT), ("open", "toy_value", ""),
        ):  # fmt: skip
            (root / f"{name}.yaml").write_text(SPEC % metric + tail)

    def spec(self, name: str) -> str:
        return str(self.root / f"{name}.yaml")

    def call(self, *arguments: str) -> Answer:
        command = [sys.executable, "-m", "cryorepro", *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        lines = done.stdout.splitlines()
        text = lines[-1] if arguments[0] in ("reproduce", "resume") and lines else done.stdout
        return Answer(done.returncode, json.loads(text) if text.strip() else {}, done.stderr)

    def plain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cryorepro", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)

    def elsewhere(self, root: Path) -> Store:
        """The same programs with an empty store."""
        return Store(root, Path(self.environment["PYTHONPATH"]))

    def run(self, spec: str, *arguments: str) -> Answer:
        return self.call("reproduce", self.spec(spec), *arguments)
