"""One file from a server that misbehaves: it arrives whole, or one sentence says why it cannot be had."""

from __future__ import annotations

import errno
import hashlib
import os
import time

import pytest

from cryorepro.store.errors import StoreError
from cryorepro.workflow.fetch.errors import FetchError, NotFound, Unreachable, WrongContent
from cryorepro.workflow.fetch.manifest import KnownFile, sha256_of
from tests.workflow.fetch.conftest import SIZE, Place
from tests.workflow.fetch.server import make_file

HTML = b"<!DOCTYPE html><html><head><title>Service unavailable</title></head></html>" * 40
S3_ERROR = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code></Error>'


def arrived(place: Place) -> bool:
    return sha256_of(place.target) == place.sha256 and place.leftovers() == []


def test_a_good_server_is_read_once_in_ranges(place: Place) -> None:
    place.conduct()
    place.fetch()
    assert arrived(place)
    ranges = [range_ for _, range_ in place.server.tally.seen[1:]]
    assert len(ranges) == -(-SIZE // (256 << 10)) and all(ranges)
    assert place.server.tally.sent <= SIZE + 1024
    place.conduct()
    place.fetch()
    assert place.server.tally.requests == 0, "what is cached is not asked for again"


@pytest.mark.parametrize("validators", [True, False])
def test_no_ranges(place: Place, validators: bool) -> None:
    place.conduct(ranges=False, validators=validators)
    place.fetch()
    assert arrived(place)


def test_drops_cost_only_what_was_in_flight(place: Place) -> None:
    place.conduct(drop_after=lambda number: 100_000 if number % 2 else None)
    place.fetch()
    assert arrived(place)
    assert place.server.tally.sent < 1.05 * SIZE


def test_drops_without_ranges_are_tried_again_from_the_start(place: Place) -> None:
    place.conduct(ranges=False, drop_after=lambda number: 100_000 if number < 4 else None)
    place.fetch()
    assert arrived(place)


def test_a_server_that_always_drops_is_given_up_and_leaves_nothing_that_looks_whole(place: Place) -> None:
    place.conduct(drop_after=lambda number: 0 if number > 1 else None)
    with pytest.raises(Unreachable, match=r"movie\.mrcs.*given up after 4 tries"):
        place.fetch()
    assert not place.target.exists()


def test_busy_answers_are_waited_out(place: Place) -> None:
    place.conduct(status=lambda number: 503 if number % 3 else 200)
    place.fetch(attempts=40)
    assert arrived(place)


def test_the_servers_wish_to_wait_is_kept(place: Place) -> None:
    place.conduct(status=lambda number: 429 if number == 1 else 200, retry_after="1")
    began = time.monotonic()
    place.fetch()
    assert arrived(place) and time.monotonic() - began >= 1.0


def test_a_server_that_stays_busy_is_given_up(place: Place) -> None:
    place.conduct(status=lambda number: 503)
    with pytest.raises(Unreachable, match="answered 503; given up after 4 tries"):
        place.fetch()
    assert place.server.tally.requests == 4


@pytest.mark.parametrize(("status", "kind", "words"), [(404, NotFound, "no such file"), (403, FetchError, "403")])
def test_a_refusal_is_not_tried_again(place: Place, status: int, kind: type[FetchError], words: str) -> None:
    place.conduct(status=lambda number: status)
    with pytest.raises(kind, match=words):
        place.fetch()
    assert place.server.tally.requests == 1


def test_a_slow_drip_is_dropped_and_the_next_connection_tried(place: Place) -> None:
    place.conduct(drip=lambda number: number == 3)
    began = time.monotonic()
    place.fetch()
    assert arrived(place) and time.monotonic() - began < 20


def test_an_endless_drip_is_given_up(place: Place) -> None:
    place.conduct(drip=lambda number: number > 1)
    with pytest.raises(Unreachable, match=r"only \d+ bytes came"):
        place.fetch(attempts=2)


@pytest.mark.parametrize(("page", "kind"), [(HTML, "an HTML page"), (S3_ERROR, "an XML error message")])
@pytest.mark.parametrize("declared", [None, "text/html; charset=utf-8"])
def test_an_error_page_with_status_200_is_refused(place: Place, page: bytes, kind: str, declared: str | None) -> None:
    place.conduct(page=lambda number: page, page_type=declared)
    with pytest.raises(WrongContent, match=r"an (HTML|XML)" if declared else kind):
        place.fetch()
    assert not place.target.exists() and place.leftovers() == []


def test_an_error_page_in_place_of_a_range_is_not_written_into_the_file(place: Place) -> None:
    place.conduct(page=lambda number: S3_ERROR if number in (1, 3, 5) else None)
    place.fetch()
    assert arrived(place) and place.notices == [], "a page that passes is no reason to start over"
    assert S3_ERROR not in place.target.read_bytes()


@pytest.mark.parametrize("lie", [777, -777])
def test_a_wrong_length_never_gives_a_file(place: Place, lie: int) -> None:
    place.conduct(lie_about_length=lie)
    known = KnownFile(path="movie.mrcs", size_bytes=SIZE, sha256=place.sha256)
    with pytest.raises(WrongContent, match=f"{SIZE + lie} bytes, not the {SIZE}"):
        place.fetch(known)
    assert not place.target.exists()


def test_a_length_that_is_too_long_is_found_without_a_manifest(place: Place) -> None:
    place.conduct(lie_about_length=777)
    with pytest.raises(FetchError):
        place.fetch()
    place.conduct(lie_about_length=777, ranges=False)
    with pytest.raises(FetchError):
        place.fetch()
    assert not place.target.exists()


def test_another_range_than_asked_for_is_refused(place: Place) -> None:
    place.conduct(wrong_range=True)
    with pytest.raises(Unreachable, match="another range"):
        place.fetch()


def test_a_file_that_changes_midway_is_read_anew(place: Place) -> None:
    """After the fifth request the archive's file is another: not one byte of the first may remain."""
    second = place.server.root / "second"
    new = make_file(second, SIZE, seed=2)

    def change(number: int) -> int:
        if number == 6:
            os.utime(second, ns=(time.time_ns(), time.time_ns() + 10**10))
            second.replace(place.source)
        return 200

    place.conduct(status=change)
    place.fetch(connections=1)
    assert hashlib.sha256(place.target.read_bytes()).hexdigest() == new
    assert any("changed on the server" in notice for notice in place.notices)


def test_a_change_is_seen_where_the_server_ignores_if_range(place: Place) -> None:
    second = place.server.root / "second"
    new = make_file(second, SIZE, seed=2)

    def change(number: int) -> int:
        if number == 6:
            second.replace(place.source)
        return 200

    place.conduct(status=change, ignore_if_range=True)
    place.fetch(connections=1)
    assert sha256_of(place.target) == new


def test_a_file_that_keeps_changing_is_given_up(place: Place) -> None:
    def change(number: int) -> int:
        place.server.conduct.etag = f'"{number}"'
        return 200

    place.conduct(status=change)
    with pytest.raises(FetchError, match="changed on the server .*3 times"):
        place.fetch()
    assert not place.target.exists()


def test_redirects_are_followed_within_bounds(place: Place) -> None:
    place.conduct(redirect=lambda path: "/movie.mrcs" if path == "/old.mrcs" else None)
    place.fetch(urls=[place.server.url + "old.mrcs"])
    assert arrived(place)
    place.target.unlink()
    place.conduct(redirect=lambda path: "/loop.mrcs")
    with pytest.raises(FetchError, match="redirected more than"):
        place.fetch(urls=[place.server.url + "loop.mrcs"])


def test_a_length_that_is_not_stated(place: Place) -> None:
    place.conduct(ranges=False, chunked=True, drop_after=lambda number: 200_000 if number < 4 else None)
    place.fetch()
    assert arrived(place)


def test_an_encoded_answer_is_not_the_file(place: Place) -> None:
    place.conduct(encoding="gzip")
    with pytest.raises(WrongContent, match="encoded"):
        place.fetch()
    packed = place.server.root / "map.gz"
    packed.write_bytes(place.source.read_bytes())
    place.fetch(urls=[place.server.url + "map.gz"])
    assert arrived(place), "a server may name the packing of a .gz file as an encoding"


def test_an_empty_file(place: Place) -> None:
    place.source.write_bytes(b"")
    place.conduct()
    assert place.fetch().read_bytes() == b""


def test_a_proxy_of_the_environment_is_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", place.server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    place.fetch(urls=["http://archive.invalid/movie.mrcs"])
    assert arrived(place)


def test_a_full_disk_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room was there when it was asked for, and is gone when it is needed."""
    write, count = os.pwrite, iter(range(10**6))

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        if next(count) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match=r"cannot write .*movie\.mrcs\.part: No space left on device"):
        place.fetch()
    monkeypatch.undo()
    place.fetch()
    assert arrived(place)


def test_nobody_listens(place: Place) -> None:
    url = place.server.url
    place.server.stop()
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:\d+ cannot be reached"):
        place.fetch(urls=[url + "movie.mrcs"])
    assert time.monotonic() - began < 10


def test_the_second_address_is_tried_when_the_first_is_dead(place: Place) -> None:
    dead = "http://127.0.0.1:9/movie.mrcs"
    place.fetch(urls=[dead, place.server.url + "movie.mrcs"])
    assert arrived(place)
    assert any("trying" in notice for notice in place.notices)
