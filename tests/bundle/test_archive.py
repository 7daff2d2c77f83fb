"""Hostile archives: each is refused with one sentence, without memory being taken or a file being written."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from cryorepro.bundle.verify import verify_bundle
from tests.bundle.forge import forged, members_of

Make = Callable[[Path, Path], None]


def rezip(**changes: object) -> Make:
    """The bundle written again by the standard library, with one hostile member."""

    def make(bundle: Path, out: Path) -> None:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, content in members_of(bundle).items():
                archive.writestr(name, content)
            entry = zipfile.ZipInfo(str(changes["name"]))
            entry.external_attr = int(str(changes.get("mode", 0o100644))) << 16
            entry.compress_type = int(str(changes.get("method", zipfile.ZIP_STORED)))
            archive.writestr(entry, bytes(int(str(changes.get("size", 3)))))

    return make


def encrypted(bundle: Path, out: Path) -> None:
    content = bytearray(bundle.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    out.write_bytes(content)


def trailing(bundle: Path, out: Path) -> None:
    out.write_bytes(bundle.read_bytes() + b"#!/bin/sh\n")


def leading(bundle: Path, out: Path) -> None:
    out.write_bytes(b"#!/bin/sh\n" + bundle.read_bytes())


def overlapping(bundle: Path, out: Path) -> None:
    """Two lines of the directory that name the same bytes: how a small file claims to hold a large one."""
    content = bytearray(bundle.read_bytes())
    first = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", first + 4)
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    out.write_bytes(content)


def enormous(bundle: Path, out: Path) -> None:
    """A member that says it has 4 GB."""
    content = bytearray(bundle.read_bytes())
    first = content.index(b"PK\x01\x02")
    content[first + 20 : first + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    out.write_bytes(content)


def many(bundle: Path, out: Path) -> None:
    del bundle
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(6000):
            archive.writestr(f"{number}", b"")


def truncated(bundle: Path, out: Path) -> None:
    out.write_bytes(bundle.read_bytes()[:-5000])


def other_header(bundle: Path, out: Path) -> None:
    """A local header that names another file than the directory does: two readers see two archives."""
    content = bytearray(bundle.read_bytes())
    content[30:39] = b"README.sh"
    out.write_bytes(content)


def empty(bundle: Path, out: Path) -> None:
    del bundle
    out.write_bytes(b"")


HOSTILE: dict[str, tuple[Make, str]] = {
    "path-traversal": (rezip(name="../outside.txt"), "leads out of the bundle"),
    "deep-traversal": (rezip(name="figures/../../outside.txt"), "leads out of the bundle"),
    "absolute": (rezip(name="/etc/cron.d/job"), "is an absolute path"),
    "drive": (rezip(name="C:/Windows/x"), "is an absolute path"),
    "backslash": (rezip(name="..\\outside.txt"), "leads out of the bundle"),
    "control-character": (rezip(name="figures/a\nb"), "characters or parts that a bundle's names do not have"),
    "hidden": (rezip(name=".bashrc"), "characters or parts that a bundle's names do not have"),
    "symlink": (rezip(name="link", mode=0o120777), "is a symbolic link"),
    "device": (rezip(name="device", mode=0o020666), "is not a plain file"),
    "bomb": (rezip(name="bomb", size=200_000_000, method=zipfile.ZIP_DEFLATED), "nothing grows when it is opened"),
    "encrypted": (encrypted, "is encrypted"),
    "same-name": (rezip(name="spec.yaml"), "is there twice"),
    "same-name-in-capitals": (rezip(name="SPEC.yaml"), "is there twice"),
    "below-a-file": (rezip(name="spec.yaml/inner"), "lies below another member"),
    "something-after": (trailing, "something follows the archive"),
    "something-before": (leading, "its directory is not where the archive says"),
    "overlapping": (overlapping, "members overlap"),
    "enormous": (enormous, "members overlap, or something stands between them"),
    "too-many": (many, "are no bundle"),
    "truncated": (truncated, "not a bundle"),
    "two-directories": (other_header, "the header before the member 'README.md'"),
    "empty": (empty, "0 bytes are no bundle"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives_are_refused_with_one_sentence(toy_bundle: Path, tmp_path: Path, kind: str) -> None:
    make, words = HOSTILE[kind]
    bundle = tmp_path / "in" / "hostile.zip"
    bundle.parent.mkdir()
    make(toy_bundle, bundle)
    report = verify_bundle(bundle)
    assert not report.holds
    assert [finding.kind for finding in report.findings] == ["problem"]
    sentence = report.findings[0].text
    assert words in sentence and "\n" not in sentence
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["hostile.zip"]


def test_a_bomb_takes_no_memory(toy_bundle: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    rezip(name="bomb", size=1_000_000_000, method=zipfile.ZIP_DEFLATED)(toy_bundle, bomb)
    assert bomb.stat().st_size < 10_000_000
    code = (
        "import resource, sys; from pathlib import Path; from cryorepro.bundle.verify import verify_bundle;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; r = verify_bundle(Path(sys.argv[1]));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, r.holds)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bomb)], capture_output=True, text=True, check=True)
    grown_kb, holds = done.stdout.split()
    assert holds == "False"
    assert int(grown_kb) < 50_000, "verifying took memory by what the archive claims"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def test_the_archive_is_one_that_other_tools_read(toy_bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(toy_bundle) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "README.md"
        assert archive.namelist()[1:] == sorted(archive.namelist()[1:])
        archive.extractall(tmp_path)
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert zlib.crc32((tmp_path / entry.filename).read_bytes()) == entry.CRC
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_copy_with_nothing_changed_is_the_same_file(toy_bundle: Path, tmp_path: Path) -> None:
    copy = forged(toy_bundle, tmp_path / "copy.zip", lambda members: None)
    assert copy.read_bytes() == toy_bundle.read_bytes()
