"""A single flipped bit anywhere in a bundle is found."""

from __future__ import annotations

import random
from pathlib import Path

from cryorepro.bundle.verify import verify_bundle
from cryorepro.bundle.zipwrite import write_archive
from tests.bundle.forge import forged, members_of, sums

TRIALS = 200


def test_a_bit_flipped_in_any_member_is_found(toy_bundle: Path, tmp_path: Path) -> None:
    """The archive's own checksums are made to fit, so that only the bundle's sums can find it."""
    draw = random.Random(20261120)
    original = members_of(toy_bundle)
    for trial in range(TRIALS):
        members = dict(original)
        name = draw.choice(sorted(members))
        content = bytearray(members[name])
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        members[name] = bytes(content)
        path = tmp_path / f"{trial}.zip"
        write_archive(path, members)
        report = verify_bundle(path)
        assert not report.holds, f"trial {trial}: a flipped bit in {name} was not found"
        path.unlink()


def test_a_bit_flipped_anywhere_in_the_file_is_found(toy_bundle: Path, tmp_path: Path) -> None:
    """Headers and the archive's directory included."""
    draw = random.Random(10028)
    original = toy_bundle.read_bytes()
    tail = original.index(b"PK\x01\x02")
    for trial in range(TRIALS):
        content = bytearray(original)
        start = tail if trial % 2 else 0
        at = draw.randrange(start, len(content))
        content[at] ^= 1 << draw.randrange(8)
        path = tmp_path / f"{trial}.zip"
        path.write_bytes(content)
        assert not verify_bundle(path).holds, f"trial {trial}: a flipped bit at byte {at} was not found"
        path.unlink()


def test_a_bit_flipped_in_a_text_is_found_even_when_every_sum_was_made_to_fit(toy_bundle: Path, tmp_path: Path) -> None:
    """Texts, tables, the crate, the journal and the benchmark hang together; what an author may choose does not."""
    draw = random.Random(4950)
    chosen = ("figures/", "usage/", "bundle.json", "claims.json", "dataset.json", "SHA256SUMS")
    names = [name for name in sorted(members_of(toy_bundle)) if not name.startswith(chosen)]
    assert len(names) > 15
    for trial, name in enumerate(names * 3):

        def flip(members: dict[str, bytes], name: str = name) -> None:
            content = bytearray(members[name])
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            members[name] = bytes(content)

        path = forged(toy_bundle, tmp_path / f"{trial}.zip", flip)
        assert not verify_bundle(path).holds, f"trial {trial}: a forged {name} was not found"
        path.unlink()


def test_the_forger_makes_sums_as_export_does(toy_bundle: Path) -> None:
    members = members_of(toy_bundle)
    assert sums(members) == members["SHA256SUMS"]
