"""Claims as data: the registry that ships with cryorepro."""

from __future__ import annotations

from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.model.claim import Claim
from cryorepro.model.claim_files import load_claim_file
from cryorepro.model.shipped import shipped


def load_claims(directory: Path | None = None) -> dict[str, Claim]:
    """Every claim of the registry by its id.

    Raises:
        InputError: a file is malformed, or two claims share an id.
    """
    found: dict[str, Claim] = {}
    for path in sorted((directory or shipped("registry") / "claims").glob("*.yaml")):
        for claim in load_claim_file(path):
            if claim.id in found:
                raise InputError(f"{path}: claim id '{claim.id}' is used twice in the registry")
            found[claim.id] = claim
    return found
