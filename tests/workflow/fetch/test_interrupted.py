"""A transfer stopped anywhere, by any means, goes on where it was; two at once fetch once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryorepro.workflow.fetch.errors import FetchError, WrongContent
from cryorepro.workflow.fetch.journal import covered, read_journal
from cryorepro.workflow.fetch.manifest import sha256_of
from cryorepro.workflow.fetch.partial import Partial
from cryorepro.workflow.fetch.ranges import length
from cryorepro.workflow.fetch.verify import verify_cache
from tests.workflow.fetch.conftest import SIZE, Place
from tests.workflow.fetch.server import Conduct, Server, make_file

ROOT = Path(__file__).resolve().parents[3]
CHILD = Path(__file__).with_name("child.py")


def start(url: str, cache: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), url, str(cache), *more]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": paths}
    )


def stop_after(child: subprocess.Popen[str], server: Server, count: int, how: signal.Signals) -> bool:
    """Send a signal once the server has sent `count` more bytes; False when the child was done before."""
    aim, deadline = server.tally.sent + count, time.monotonic() + 60
    while server.tally.sent < aim:
        if child.poll() is not None:
            return False
        assert time.monotonic() < deadline, "the child brings nothing"
        time.sleep(0.002)
    child.send_signal(how)
    child.wait(60)
    return True


def test_thirty_interruptions(tmp_path: Path, serve: object) -> None:
    """20 MB, ended 30 times by SIGKILL and Ctrl-C in turn; each attempt builds on those before."""
    size = 20_000_003
    server = serve("served")  # type: ignore[operator]
    digest = make_file(server.root / "deposit.mrcs", size)
    server.conduct = Conduct(rate=2_000_000)
    cache, url, there = tmp_path / "cache", server.url + "deposit.mrcs", [0]
    partial = Partial(cache / "deposit" / "deposit.mrcs")
    for number in range(30):
        child = start(url, cache)
        how = signal.SIGKILL if number % 2 else signal.SIGINT
        assert stop_after(child, server, 550_000, how), "the file was complete before it was interrupted 30 times"
        assert not partial.target.exists()
        found = read_journal(partial.journal)
        there.append(length(covered(found[1])) if found else 0)
    assert there == sorted(there), "no attempt loses what an earlier one wrote down"
    assert there[-1] > size / 3
    server.conduct = Conduct()
    last = start(url, cache)
    output, _ = last.communicate(timeout=120)
    assert last.returncode == 0, output
    assert int(output.split()[-1]) == size - there[-1], "only what was missing is fetched"
    assert sha256_of(partial.target) == digest
    assert [finding.state for finding in verify_cache(tmp_path, "cache")] == ["ok"]


def test_two_processes_fetch_once(tmp_path: Path, place: Place) -> None:
    place.conduct(rate=1_500_000)
    children = [start(place.server.url + "movie.mrcs", place.cache.root) for _ in range(3)]
    outputs = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], outputs
    assert sha256_of(place.target) == place.sha256
    received = sorted(int(re.findall(r"received (\d+)", output)[0]) for output in outputs)
    assert received == [0, 0, SIZE]
    assert sum("another process is fetching it" in output for output in outputs) == 2


def test_the_second_process_takes_over_when_the_first_is_killed(place: Place) -> None:
    place.conduct(rate=600_000)
    first = start(place.server.url + "movie.mrcs", place.cache.root)
    deadline = time.monotonic() + 60
    while place.server.tally.sent < 1_000_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    second = start(place.server.url + "movie.mrcs", place.cache.root)
    assert second.stdout is not None and "waiting" in second.stdout.readline()
    place.server.conduct = Conduct()
    first.kill()
    first.communicate(timeout=60)
    rest, _ = second.communicate(timeout=60)
    assert second.returncode == 0 and sha256_of(place.target) == place.sha256
    assert int(rest.split()[-1]) < SIZE - 500_000


def begin(place: Place) -> Partial:
    """An attempt that fails after about a third of the file."""
    place.conduct(status=lambda number: 403 if number > 6 else 200)
    with pytest.raises(FetchError, match="403"):
        place.fetch(connections=1)
    place.conduct()
    return Partial(place.target)


def test_spoiled_bytes_of_an_earlier_attempt_are_fetched_again(place: Place) -> None:
    partial = begin(place)
    with partial.data.open("r+b") as stream:
        stream.seek(300_000)
        stream.write(b"spoiled")
    place.fetch()
    assert sha256_of(place.target) == place.sha256
    assert place.server.tally.sent > SIZE - 5 * (256 << 10)


@pytest.mark.parametrize("cut", [1, 5, 40, 10_000])
def test_a_journal_cut_short_anywhere_costs_only_its_last_lines(place: Place, cut: int) -> None:
    partial = begin(place)
    content = partial.journal.read_bytes()
    partial.journal.write_bytes(content[: max(0, len(content) - cut)])
    place.fetch()
    assert sha256_of(place.target) == place.sha256


def test_every_byte_of_the_journal_may_be_damaged(place: Place) -> None:
    partial = begin(place)
    content = partial.journal.read_bytes()
    for i in range(0, len(content), 7):
        partial.journal.write_bytes(content[:i] + bytes([content[i] ^ 0x20]) + content[i + 1 :])
        found = read_journal(partial.journal)
        good = read_journal_of(content, partial.journal)
        assert found is None or set(found[1]) <= good
    partial.journal.write_bytes(content)
    place.fetch()
    assert sha256_of(place.target) == place.sha256


def read_journal_of(content: bytes, path: Path) -> set[object]:
    before = path.read_bytes()
    path.write_bytes(content)
    found = read_journal(path)
    path.write_bytes(before)
    assert found is not None
    return set(found[1])


def test_a_file_that_changed_between_attempts_is_started_over(place: Place) -> None:
    begin(place)
    new = make_file(place.source, SIZE, seed=3)
    place.fetch()
    assert sha256_of(place.target) == new


def test_a_crash_between_the_record_and_the_rename_is_made_good(place: Place) -> None:
    place.fetch()
    partial = Partial(place.target)
    place.target.rename(partial.data)
    place.conduct()
    place.fetch()
    assert sha256_of(place.target) == place.sha256 and place.leftovers() == []


def test_what_was_fetched_once_must_be_the_same_ever_after(place: Place) -> None:
    place.fetch()
    place.target.unlink()
    make_file(place.source, SIZE, seed=4)
    with pytest.raises(WrongContent, match=r"sha256 .* recorded on 20\d\d-"):
        place.fetch()
    assert not place.target.exists()


def test_a_file_another_program_fetched_is_adopted_when_it_is_as_long(place: Place) -> None:
    place.target.parent.mkdir(parents=True)
    place.target.write_bytes(place.source.read_bytes())
    place.conduct()
    place.fetch()
    assert place.server.tally.requests == 1
    assert place.cache.records()["deposit/movie.mrcs"].sha256 == place.sha256


def test_an_unfinished_file_of_another_program_is_replaced(place: Place) -> None:
    place.target.parent.mkdir(parents=True)
    place.target.write_bytes(place.source.read_bytes()[:1_000_000])
    place.fetch()
    assert sha256_of(place.target) == place.sha256


def test_no_room_is_said_before_anything_is_fetched(place: Place) -> None:
    place.conduct()
    with pytest.raises(FetchError, match=r"movie\.mrcs needs 3\.0 MB more, but only"):
        place.fetch(reserve_bytes=1 << 62)
    assert place.server.tally.requests == 1


def test_a_disk_that_refuses_is_one_sentence(place: Place) -> None:
    """A file where a folder should be: what the system says reaches the person, with the path."""
    place.cache.root.parent.mkdir(parents=True)
    place.cache.root.write_text("not a folder")
    with pytest.raises(Exception, match=r"cannot write .*a-dataset"):
        place.fetch()
