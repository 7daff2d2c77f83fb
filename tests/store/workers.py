"""What tests have other processes do: `python -m tests.store.workers NAME ARGUMENT...`"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from cryorepro.store.errors import StoreError
from cryorepro.store.home import Home
from cryorepro.store.index import Index
from cryorepro.store.ingest import ingest, ingest_run, rebuild
from cryorepro.store.journal import Journal
from tests.store.journals import complete_events

REPOSITORY = Path(__file__).parents[2]


def start(name: str, *arguments: object, say: bool = False) -> subprocess.Popen[bytes]:
    """Start a worker; with ``say`` its standard output is a pipe."""
    command = [sys.executable, "-m", "tests.store.workers", name, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE if say else None)


def acknowledge_for_ever(directory: str) -> None:
    """Say every sequence number as soon as it is acknowledged."""
    journal = Journal.open(Path(directory))
    while True:
        event = journal.append("note", {"filler": "y" * 3000})
        os.write(1, f"{event.seq}\n".encode())


def fill_disk(directory: str, limit_bytes: str) -> None:
    """Append until the file may not grow, three times; then again without the limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), resource.RLIM_INFINITY))
    messages: list[str] = []
    acknowledged = 0
    with Journal.create(Path(directory)) as journal:
        for _ in range(3):
            try:
                while True:
                    journal.append("stage_outputs", {"filler": "x" * 700})
                    acknowledged += 1
            except StoreError as error:
                messages.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with Journal.open(Path(directory)) as journal:
        journal.append("room_again", {})
    sys.stdout.write(json.dumps({"acknowledged": acknowledged, "messages": messages}))


def work_in_store(root: str, worker: str, runs: str) -> None:
    """What a command does: make runs, and keep the index up while writing."""
    home = Home.at(Path(root))
    for number in range(int(runs)):
        uid, directory = home.new_run()
        with Journal.create(directory) as journal:
            for position, (kind, data) in enumerate(complete_events(uid, seed=100 * int(worker) + number)):
                journal.append(kind, data)
                if position % 8 == 3:
                    with Index.open(home) as index:
                        ingest_run(index, uid)
        with Index.open(home) as index:
            ingest(index)


def ingest_once(root: str) -> None:
    """One pass; says how many journals were read."""
    with Index.open(Home.at(Path(root))) as index:
        sys.stdout.write(str(len(ingest(index).read)))


def ingest_for_ever(root: str) -> None:
    """Open, ingest and rebuild until killed."""
    home = Home.at(Path(root))
    os.write(1, b"ready\n")
    while True:
        with Index.open(home) as index:
            ingest(index)
        rebuild(home)


WORKERS = {
    worker.__name__: worker for worker in (acknowledge_for_ever, fill_disk, work_in_store, ingest_once, ingest_for_ever)
}

if __name__ == "__main__":
    WORKERS[sys.argv[1]](*sys.argv[2:])
