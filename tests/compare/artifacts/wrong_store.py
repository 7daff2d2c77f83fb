"""A store with the plugin of wrong runs installed, in which commands run as a person would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

PLUGIN = Path(__file__).resolve().parents[2] / "wrong" / "cryorepro_wrong"


class Answer(NamedTuple):
    """What a command said."""

    code: int
    content: dict[str, Any]
    error: str


class WrongStore:
    """Runs of the benchmark ``wrong``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        site = root / "site"
        info = site / "cryorepro_wrong-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "cryorepro_wrong").symlink_to(PLUGIN)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cryorepro-wrong\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[cryorepro]\nwrong = cryorepro_wrong.plugin\n")
        kept = {name: value for name, value in os.environ.items() if name != "CRYOREPRO_CACHE"}
        own = {"CRYOREPRO_HOME": str(root / "store"), "PYTHONPATH": str(site), "CRYOREPRO_DISABLE_PLUGINS": "probes"}
        self.environment = {**kept, **own, "OMP_NUM_THREADS": "1"}

    def text(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cryorepro", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=240)

    def call(self, *arguments: str) -> Answer:
        done = self.text(*arguments, "--json")
        lines = done.stdout.splitlines()
        text = lines[-1] if arguments[0] == "reproduce" and lines else done.stdout
        return Answer(done.returncode, json.loads(text) if text.strip() else {}, done.stderr)

    def run(self, *arguments: str) -> Answer:
        """A run of the benchmark; its record with ``exit_code`` among the content."""
        answer = self.call("reproduce", "wrong", "--no-calibration", *arguments)
        shown = self.call("show", str(answer.content["run"])).content
        return Answer(answer.code, shown, answer.error)

    def misbehave(self, kind: str, *arguments: str) -> Answer:
        """A run whose reconstruction goes wrong in one way."""
        return self.run("--set", f"backproject.misbehave={kind}", *arguments)

    def stage(self, run: Answer, folder: str) -> Path:
        """The directory of a stage of a run."""
        found: Path
        (found,) = (self.root / "store" / "runs" / run.content["run"] / "stages").glob(f"*{folder}")
        return found


def verdicts(run: Answer) -> dict[str, tuple[str, str]]:
    """Word and reason of each outcome."""
    return {row["outcome"]: (row["axis_outcome"], row["reason"]) for row in run.content["verdicts"]}
