"""Signed bundles: what a signature says, and every way in which it can be wrong."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from cryorepro.bundle.verify import verify_bundle
from tests.bundle.conftest import command, succeed
from tests.bundle.forge import Members, forged, members_of


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """A key made by another program."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_key(tmp_path_factory.mktemp("keys"), "mine")


@pytest.fixture(scope="module")
def signed(
    toy_bundle: Path, toy_environment: dict[str, str], keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    del toy_bundle  # the run must be there
    bundle = tmp_path_factory.mktemp("signed") / "paper.zip"
    succeed(toy_environment, "export", "latest", "-o", str(bundle), "--sign", str(keys[0]))
    return bundle


def sentence(bundle: Path, key: Path | None = None) -> tuple[str, str]:
    found = [finding for finding in verify_bundle(bundle, key).findings if "signature" in finding.text]
    assert len(found) == 1
    return found[0].kind, found[0].text


def test_a_signature_holds_for_its_own_key_and_no_other(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    assert sentence(signed)[0] == "holds"
    assert sentence(signed, keys[1]) == ("holds", "signature: Ed25519, by the key that was given")
    kind, text = sentence(signed, make_key(tmp_path, "other")[1])
    assert kind == "problem" and "not by the key that was given" in text


def test_an_unsigned_bundle_says_so_and_fails_where_a_key_is_asked_for(
    toy_bundle: Path, keys: tuple[Path, Path]
) -> None:
    assert sentence(toy_bundle) == ("note", "signature: none; whoever made this bundle could have made another")
    assert sentence(toy_bundle, keys[1])[0] == "problem"
    assert verify_bundle(toy_bundle).holds and not verify_bundle(toy_bundle, keys[1]).holds


def test_openssl_verifies_what_was_signed(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """An independent program, over DSSE's encoding written out by hand."""
    envelope = json.loads(members_of(signed)["signature.json"])
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "message").write_bytes(f"DSSEv1 28 application/vnd.in-toto+json {len(payload)} ".encode() + payload)
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", keys[1], "-rawin", "-in", tmp_path / "message",
         "-sigfile", tmp_path / "signature"], check=True, capture_output=True,
    )  # fmt: skip
    said = json.loads(payload)
    assert said["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert said["predicate"]["result"] == "PASSED" and said["predicate"]["passedTests"] == ["total self-check"]


def edit_text(members: Members) -> None:
    members["bundle.json"] = members["bundle.json"].replace(b"CC-BY-4.0", b"CC-BY-3.0")


def edit_signature(members: Members) -> None:
    envelope = json.loads(members["signature.json"])
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[5] ^= 4
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    members["signature.json"] = json.dumps(envelope, indent=1, sort_keys=True).encode() + b"\n"


def edit_envelope(members: Members) -> None:
    members["signature.json"] = members["signature.json"].replace(b"payloadType", b"payloadtype")


def no_envelope(members: Members) -> None:
    members["signature.json"] = b"{}\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit_text, "the signed statement is not about this bundle"),
        (edit_signature, "does not fit the statement and the key"),
        (edit_envelope, "not in the form export writes"),
        (no_envelope, "not a signature as export writes it"),
    ],
)
def test_a_signature_that_does_not_fit_is_found(signed: Path, tmp_path: Path, change: object, words: str) -> None:
    assert callable(change)
    kind, text = sentence(forged(signed, tmp_path / "lie.zip", change))
    assert kind == "problem" and words in text


def test_a_key_of_another_kind_is_refused(toy_environment: dict[str, str], toy_bundle: Path, tmp_path: Path) -> None:
    key = tmp_path / "rsa.pem"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    done = command(toy_environment, "export", "latest", "-o", str(tmp_path / "a.zip"), "--sign", str(key))
    assert done.returncode == 2 and "not an Ed25519 key" in done.stderr
    assert not (tmp_path / "a.zip").exists()
    (tmp_path / "words.pem").write_text("hello")
    done = command(toy_environment, "verify", str(toy_bundle), "--key", str(tmp_path / "words.pem"))
    assert done.returncode == 2 and "not a public key in PEM" in done.stderr
