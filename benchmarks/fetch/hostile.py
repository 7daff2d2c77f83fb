"""Fetch a 300 MB deposit from a server that drops, refuses, drips and lies, through 30 interruptions.

    python benchmarks/fetch/hostile.py [--megabytes 300]

Everything runs on the loopback; the deposit is made up. Prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.em.formats.deposit_table import ROWS, deposit  # noqa: E402
from tests.workflow.fetch.archive_tree import EMPIAR, entry_10288, mirror_variable  # noqa: E402
from tests.workflow.fetch.server import Conduct, Server, serving  # noqa: E402

INTERRUPTIONS, MOVIES = 30, 12
PAGE = b"<!DOCTYPE html><html><body>Service temporarily unavailable</body></html>"
LOAD_STAR = """
import json, sys, time
import cryorepro.em.formats.particles as particles
from cryorepro.em.formats.errata import load_errata
def peak():  # VmHWM: getrusage remembers the process this one was started from
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak()
began, used = time.perf_counter(), time.process_time()
table = particles.read_particles(sys.argv[1], errata=load_errata(sys.argv[2]))
taken, used = time.perf_counter() - began, time.process_time() - used
after = peak()
print(json.dumps({"rows": len(table), "seconds": taken, "cpu": used, "before_kb": before, "peak_kb": after}))
"""


def hostile() -> Conduct:
    """Every few requests something goes wrong; the rate keeps attempts long enough to be interrupted."""
    return Conduct(
        status=lambda number: 503 if number % 11 == 0 else 200,
        drop_after=lambda number: 400_000 if number % 5 == 0 else None,
        page=lambda number: PAGE if number % 17 == 0 else None,
        rate=6_000_000,
    )


def command(home: Path, server: Server, *arguments: str) -> subprocess.Popen[str]:
    """``cryorepro ARGUMENTS`` with the archive's addresses led to the server."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    environment = os.environ | {
        "CRYOREPRO_HOME": str(home), "CRYOREPRO_MIRROR": mirror_variable(server.url), "PYTHONPATH": paths
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "cryorepro", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def interrupt(home: Path, server: Server, total: int) -> int:
    """End the transfer by SIGKILL and Ctrl-C in turn, each time after 1/35 of the deposit; how often it was."""
    done = 0
    while done < INTERRUPTIONS:
        child = command(home, server, "fetch", "empiar-10288", "--tier", "full", "--connections", "4")
        aim = server.tally.sent + total // 35
        while server.tally.sent < aim and child.poll() is None:
            time.sleep(0.01)
        if child.poll() is not None:
            child.communicate()
            break
        child.send_signal(signal.SIGKILL if done % 2 else signal.SIGINT)
        child.communicate()
        done += 1
    return done


def whole_deposit(megabytes: int, folder: Path) -> list[tuple[str, str]]:
    """Fetch, interrupt, finish, verify, spoil, verify."""
    names = entry_10288(folder / "served", MOVIES, megabytes * 1_000_000 // MOVIES)
    total = sum((folder / "served" / EMPIAR / "10288" / "data" / name).stat().st_size for name in names)
    home = folder / "home"
    with serving(folder / "served", hostile()) as server:
        began = time.monotonic()
        done = interrupt(home, server, total)
        last = command(home, server, "fetch", "empiar-10288", "--tier", "full", "--connections", "4")
        _, errors = last.communicate()
        taken, sent, requests = time.monotonic() - began, server.tally.sent, server.tally.requests
        first = command(home, server, "data", "verify")
        verified, _ = first.communicate()
        movie = next((home / "cache").rglob("CB1__*.tif"))
        with movie.open("r+b") as stream:
            stream.seek(12345)
            byte = stream.read(1)
            stream.seek(12345)
            stream.write(bytes([byte[0] ^ 1]))
        second = command(home, server, "data", "verify")
        second.communicate()
    return [
        ("deposit", f"{total / 1e6:.0f} MB in {MOVIES} movies"),
        ("interrupted", f"{done} times (SIGKILL and Ctrl-C in turn)"),
        ("last attempt", f"exit code {last.returncode} {errors.strip().splitlines()[-1:] if last.returncode else ''}"),
        ("sent by the server", f"{sent / 1e6:.0f} MB in {requests} requests, {taken:.0f} s"),
        ("data verify", f"exit code {first.returncode}: {verified.strip().splitlines()[-1]}"),
        ("data verify, one bit turned", f"exit code {second.returncode}"),
    ]


def parallel(folder: Path) -> tuple[str, str]:
    """Four ranges against one connection, each connection held to 2 MB/s."""
    from cryorepro.workflow.fetch.cache import Cache
    from cryorepro.workflow.fetch.files import fetch_file
    from cryorepro.workflow.fetch.settings import FetchSettings
    from cryorepro.workflow.fetch.transfer import transfer
    from tests.workflow.fetch.server import make_file

    make_file(folder / "speed" / "movie.mrcs", 16_000_000)
    taken = {}
    with serving(folder / "speed", Conduct(rate=2_000_000)) as server:
        for connections in (1, 4):
            settings = FetchSettings(connections=connections, piece_bytes=1 << 20)
            began = time.monotonic()
            with transfer(settings) as one:
                cache = Cache(folder / f"speed-{connections}")
                fetch_file(cache, one, "deposit/movie.mrcs", [server.url + "movie.mrcs"])
            taken[connections] = time.monotonic() - began
    return "4 ranges against 1", f"{taken[1]:.2f} s / {taken[4]:.2f} s = {taken[1] / taken[4]:.2f}"


def subset(folder: Path) -> tuple[str, str]:
    """500 of 100,000 images of 64 pixels."""
    from cryorepro.workflow.fetch.cache import Cache
    from tests.workflow.fetch.test_subset import big_stack, select

    with serving(folder / "subset") as server:
        needed = big_stack(server, 500)
        began = time.monotonic()
        select(server, Cache(folder / "subset-cache"), 500)
        taken = time.monotonic() - began
        stack = [path for path, _ in server.tally.seen if path.endswith(".mrcs")]
        cost = server.tally.sent + 600 * len(stack)
    return (
        "500 of 100,000 particles",
        f"{cost / needed:.3f} times the bytes needed, {len(stack)} requests, {taken:.1f} s",
    )


def star(folder: Path) -> tuple[str, str]:
    """The table of EMPIAR-10028 in its deposited form, stray token and all, read in a process of its own."""
    path = deposit(folder / "shiny_2sets.star", ROWS, 5476)
    errata = ROOT / "registry" / "errata" / "empiar-10028.yaml"
    done = subprocess.run(
        [sys.executable, "-c", LOAD_STAR, str(path), str(errata)], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    added, peak = (found["peak_kb"] - found["before_kb"]) / 1e3, found["peak_kb"] / 1e3
    return (
        "STAR of 105,247 rows",
        f"{found['seconds']:.2f} s ({found['cpu']:.2f} s CPU); {added:.0f} MB more, {peak:.0f} MB peak of the process",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300)
    megabytes = parser.parse_args().megabytes
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(BrokenPipeError):
        folder = Path(name)
        rows = [*whole_deposit(megabytes, folder), subset(folder), parallel(folder), star(folder)]
        width = max(len(label) for label, _ in rows)
        for label, value in rows:
            print(f"{label:<{width}}  {value}")


if __name__ == "__main__":
    main()
