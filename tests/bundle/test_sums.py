"""A list of sums that lies about the members."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cryorepro.bundle.verify import verify_bundle
from cryorepro.bundle.zipwrite import write_archive
from tests.bundle.forge import members_of


def wrong(text: bytes) -> bytes:
    return text.replace(text[:1], b"0" if text[:1] != b"0" else b"1", 1)


def short(text: bytes) -> bytes:
    return b"".join(text.splitlines(keepends=True)[1:])


def extra(text: bytes) -> bytes:
    return text + b"0" * 64 + b"  zzz.txt\n"


def twice(text: bytes) -> bytes:
    return text + text.splitlines(keepends=True)[-1]


def capitals(text: bytes) -> bytes:
    return text[:64].upper() + text[64:]


def unordered(text: bytes) -> bytes:
    return b"".join(reversed(text.splitlines(keepends=True)))


LYING = {
    wrong: "it was changed",
    short: "is not listed in SHA256SUMS",
    extra: "is listed in SHA256SUMS and missing",
    twice: "is no line of a list of sums",
    capitals: "is no line of a list of sums",
    unordered: "is not in the form export writes",
}


@pytest.mark.parametrize("lie", LYING)
def test_a_lying_list_of_sums_is_refused(toy_bundle: Path, tmp_path: Path, lie: Callable[[bytes], bytes]) -> None:
    members = members_of(toy_bundle)
    members["SHA256SUMS"] = lie(members["SHA256SUMS"])
    path = tmp_path / "lie.zip"
    write_archive(path, members)
    report = verify_bundle(path)
    assert [finding.kind for finding in report.findings] == ["problem"]
    assert LYING[lie] in report.findings[0].text
