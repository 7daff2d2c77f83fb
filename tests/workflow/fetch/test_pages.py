"""Error pages are told from files, and files from error pages."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.formats.maps import Statistics, mrc_header
from cryorepro.workflow.fetch.pages import error_page

MRC = mrc_header((3, 4, 4), np.dtype("<f4"), 1.0, 0, Statistics(0, 0, 0, 0))
PAGE = b"\xef\xbb\xbf\r\n  <!DOCTYPE HTML PUBLIC><HTML><BODY>502 Bad Gateway</BODY></HTML>"
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.mrcs", MRC), ("a.map.gz", gzip.compress(b"x", mtime=0)),
        ("a.tif", b"II*\x00\x08\x00"), ("a.tif", b"MM\x00*"),
        ("a.star", b"\ndata_images\n\nloop_\n"), ("6N4B.cif", b"data_6N4B\n#\n"),
        ("10028.xml", b"<?xml version='1.0'?><entry/>"),
        ("index.html", PAGE), ("a.dm4", b"\x00\x00\x00\x04"), ("a.mrc", b""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("declared", [None, "application/octet-stream", "text/plain", "application/x-gzip"])
def test_files_pass(name: str, head: bytes, declared: str | None) -> None:
    assert error_page(name, head, declared) is None


@pytest.mark.parametrize("name", ["a.mrcs", "a.tif", "a.star", "a.cif", "a.map.gz", "noending"])
def test_pages_are_caught(name: str) -> None:
    assert error_page(name, PAGE, None) == error_page(name, b"\x00\x01", "text/html") == "an HTML page"
    assert error_page(name, S3, "application/octet-stream") == "an XML error message"
    assert error_page(name, b'{"error": 1}', "application/json") == "a JSON message"


def test_an_error_in_place_of_an_xml_file_is_caught() -> None:
    assert error_page("10028.xml", S3, "application/xml") == "an XML error message"
    assert error_page("10028.xml", PAGE, None) == "an HTML page"


@given(st.binary(max_size=64), st.text(max_size=20), st.none() | st.text(max_size=30))
def test_any_bytes_are_judged_without_an_exception(head: bytes, name: str, declared: str | None) -> None:
    verdict = error_page(name, head, declared)
    assert verdict is None or verdict.startswith(("an ", "a "))
