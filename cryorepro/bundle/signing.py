"""Who vouches for a bundle: an in-toto test result in a DSSE envelope, signed with an Ed25519 key.

The statement's subject is the list of sums, which fixes every other member. The envelope carries the public key, so
that anyone can check the signature; whose key it is has to be known from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryorepro.bundle.facts import Facts
from cryorepro.bundle.layout import SPEC, SUMS
from cryorepro.bundle.strict_json import parse_json, render_json
from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_TYPE = "application/vnd.in-toto+json"
_PASSED = ("identical", "numerical", "equivalent", "within-band-n1")
_FAILED = ("diverged", "unverifiable", "failed")
_LARGEST_KEY_BYTES = 10_000
NO_LIBRARY = "needs the package 'cryptography': pip install 'cryorepro[signing]'"


def statement(facts: Facts, sums: bytes, spec_sha256: str) -> bytes:
    """The in-toto statement on a bundle whose ``SHA256SUMS`` is ``sums``."""
    words = {
        f"{row['outcome']} {row['claim'] or 'self-check'}": row["axis_outcome"] for row in facts.record["verdicts"]
    }
    failed = sorted(name for name, word in words.items() if word in _FAILED)
    passed = sorted(name for name, word in words.items() if word in _PASSED)
    warned = sorted(words.keys() - {*failed, *passed})
    result = "FAILED" if facts.verdict in _FAILED else "PASSED" if facts.verdict in _PASSED else "WARNED"
    return render_json({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": SUMS, "digest": {"sha256": hashlib.sha256(sums).hexdigest()}}],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": result,
            "configuration": [{"name": SPEC, "digest": {"sha256": spec_sha256}}],
            "passedTests": passed,
            "warnedTests": warned,
            "failedTests": failed,
        },
    })  # fmt: skip


def sign(payload: bytes, key_file: Path) -> bytes:
    """The envelope for ``payload``.

    Raises:
        InputError: ``key_file`` holds no unencrypted Ed25519 private key in PEM, or ``cryptography`` is missing.
    """
    key = _private_key(key_file)
    return _envelope(payload, key.sign(_encoded(payload)), _raw(key.public_key()))


def key_id(public: bytes) -> str:
    """What a key is called: the SHA-256 of its 32 bytes."""
    return hashlib.sha256(public).hexdigest()


def check_signature(envelope: bytes, expected: bytes) -> str:
    """Hold ``envelope`` to the statement that the bundle must have; returns the key's identifier.

    Raises:
        InputError: it is no envelope, says something else, or the signature does not fit the key it carries.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    content = parse_json(envelope, "signature.json")
    try:
        payload = base64.b64decode(content["payload"], validate=True)
        [row] = content["signatures"]
        signature = base64.b64decode(row["sig"], validate=True)
        public = bytes.fromhex(content["publicKey"])
        key = Ed25519PublicKey.from_public_bytes(public)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("signature.json: not a signature as export writes it") from error
    if payload != expected:
        raise InputError("signature.json: the signed statement is not about this bundle")
    try:
        key.verify(signature, _encoded(payload))
    except InvalidSignature as error:
        raise InputError("signature.json: the signature does not fit the statement and the key") from error
    if _envelope(payload, signature, public) != envelope:
        raise InputError("signature.json: not in the form export writes")
    return key_id(public)


def public_key_id(key_file: Path) -> str:
    """Identifier of the Ed25519 public key in a PEM file.  Raises InputError when it holds none."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise InputError(f"--key {NO_LIBRARY}") from error
    try:
        key = load_pem_public_key(_read(key_file))
    except ValueError as error:
        raise InputError(f"{key_file}: not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{key_file}: not an Ed25519 key")
    return key_id(_raw(key))


def at_hand() -> bool:
    """Whether signatures can be made and checked here."""
    from importlib.util import find_spec

    return find_spec("cryptography") is not None


def _envelope(payload: bytes, signature: bytes, public: bytes) -> bytes:
    return render_json({
        "payloadType": _TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key_id(public), "sig": base64.b64encode(signature).decode()}],
        "publicKey": public.hex(),
    })  # fmt: skip


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    return b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE.encode(), len(payload), payload)


def _raw(key: Ed25519PublicKey) -> bytes:
    raw: bytes = key.public_bytes_raw()
    return raw


def _private_key(key_file: Path) -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise InputError(f"--sign {NO_LIBRARY}") from error
    try:
        key: Any = load_pem_private_key(_read(key_file), password=None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{key_file}: not an unencrypted private key in PEM") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(f"{key_file}: not an Ed25519 key")
    return key


def _read(key_file: Path) -> bytes:
    try:
        with key_file.open("rb") as stream:
            return stream.read(_LARGEST_KEY_BYTES)
    except OSError as error:
        raise InputError(f"{key_file}: cannot be read ({error.strerror})") from error
