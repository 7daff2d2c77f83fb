"""What listing and tracing tell of the installed plugins, and what they cost."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest


def test_trace_tells_each_call_with_its_time_and_what_it_gave(site: Any) -> None:
    site.plugin(
        "slow",
        "import time\n@hookimpl\ndef cryorepro_probes():\n    time.sleep(0.05)\n    yield Probe('late', 's', 'slow:P')",
    )
    site.plugin("x-hook", "@hookimpl\ndef cryorepro_probes():\n    yield 1/0")
    calls = {(row["plugin"], row["hook"]): row for row in site.json("plugins", "trace")}
    late = calls["slow", "cryorepro_probes"]
    assert late["descriptors"] == ["late"]
    assert late["seconds"] >= 0.05, "the time to read the generator counts"
    assert "ZeroDivisionError" in calls["x-hook", "cryorepro_probes"]["error"]
    assert calls["probes", "import"]["error"] is None
    done = site.run("plugins", "list", "--json", CRYOREPRO_TRACE_PLUGINS="1")
    json.loads(done.stdout)
    assert "cryorepro trace: slow (slow)  cryorepro_probes" in done.stderr


def test_provenance_comes_from_what_is_installed(site: Any, probe_source: Callable[..., str]) -> None:
    info = site.plugin("a-good", probe_source("good-a"), version="2.5")
    (info / "RECORD").write_text("a_good.py,sha256=abc,10\n")
    (info / "direct_url.json").write_text(
        json.dumps({"url": "file:///home/someone/private", "dir_info": {"editable": True}})
    )
    (row,) = (row for row in site.json("plugins", "list")["plugins"] if row["name"] == "a-good")
    assert (row["distribution"], row["version"], row["editable"], row["api"]) == ("a-good", "2.5", True, "1")
    # sha256sum of that RECORD, from coreutils
    expected = subprocess.run(["sha256sum", info / "RECORD"], capture_output=True, text=True, check=True)
    assert row["record_sha256"] == expected.stdout.split()[0]
    assert "someone" not in json.dumps(row)


DAMAGED = [
    "[cryorepro]\nx = a-b.c:d e\n",
    "[cryorepro]\nx = pkg.mod:attr\n",
    "[cryorepro]\nno equals\n",
    "\xff[x]",
]


@pytest.mark.parametrize("text", DAMAGED)
def test_damaged_entry_points_are_a_refusal_at_most(site: Any, text: str) -> None:
    info = site.metadata("damaged", "1", {})
    (info / "entry_points.txt").write_bytes(text.encode("latin-1"))
    listing = site.json("plugins", "list")
    assert "probes" in {row["name"] for row in listing["plugins"]}
    assert "damaged" not in {row["distribution"] for row in listing["plugins"]}


@pytest.mark.parametrize("arguments", ["--help", "plugins list", "plugins trace", "plugins doctor"])
def test_listing_imports_no_numerics_and_is_quick(site: Any, arguments: str) -> None:
    program = (
        "import sys\nsys.argv = ['cryorepro'] + sys.argv[1:]\n"
        "from cryorepro.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib', 'gemmi'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy), file=sys.stderr)\n"
    )
    command = [sys.executable, "-P", "-c", program, *arguments.split()]
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, env=site.environment(), cwd=site.path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "HEAVY []" in done.stderr, done.stderr
    # CPU seconds, so that other work on the machine does not decide.
    assert min(times) < 0.5, times
