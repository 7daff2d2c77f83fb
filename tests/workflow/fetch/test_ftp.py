"""FTP as the second way to a file."""

from __future__ import annotations

import pytest

from cryorepro.workflow.fetch.errors import FetchError, NotFound
from cryorepro.workflow.fetch.manifest import sha256_of
from tests.workflow.fetch.conftest import SIZE, Place
from tests.workflow.fetch.ftp_server import serving_ftp

DEAD = "http://127.0.0.1:9/movie.mrcs"


def test_ftp_takes_over_when_https_is_dead(place: Place) -> None:
    with serving_ftp(place.server.root, drop_after=[100_000, 50_000]) as url:
        place.fetch(urls=[DEAD, url + "movie.mrcs"])
    assert sha256_of(place.target) == place.sha256


def test_what_https_brought_is_not_read_again_by_ftp(place: Place) -> None:
    """Both state the same size and date, so the bytes are of the same file."""
    place.conduct(status=lambda number: 503 if number > 6 else 200)
    with pytest.raises(FetchError):
        place.fetch(connections=1)
    with serving_ftp(place.server.root) as url:
        place.fetch(urls=[DEAD, url + "movie.mrcs"])
    assert sha256_of(place.target) == place.sha256
    assert place.meter.received_bytes < SIZE - 1_000_000


def test_a_missing_file_and_a_page_in_its_place(place: Place) -> None:
    with serving_ftp(place.server.root) as url:
        with pytest.raises(NotFound, match="no such file"):
            place.fetch(urls=[url + "other.mrcs"])
        place.source.write_bytes(b"<html><body>Moved</body></html>" * 99)
        with pytest.raises(FetchError, match="an HTML page"):
            place.fetch(urls=[url + "movie.mrcs"])
