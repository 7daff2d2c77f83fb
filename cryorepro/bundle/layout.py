"""Names of the things in a bundle. What is a source is kept; what is derived can be made again from the sources."""

from __future__ import annotations

FORMAT = 1
"""Raised when a member changes its meaning; another version's texts are then not made again, only read."""

README = "README.md"
SUMS = "SHA256SUMS"
CRATE = "ro-crate-metadata.json"

BUNDLE = "bundle.json"
SPEC = "spec.yaml"
CLAIMS = "claims.json"
DATASET = "dataset.json"
EVENTS = "journal/events.jsonl"
SEAL = "journal/seal.json"
ORIGINAL = "journal/original.json"
USAGE = "usage/"
ARTIFACTS = "artifacts/"
FIGURES = "figures/"

SOURCES = (BUNDLE, SPEC, CLAIMS, DATASET, EVENTS, SEAL, ORIGINAL)
"""Members that every bundle has and that nothing else in it determines."""

SIGNATURE = "signature.json"
UNLISTED = frozenset({SUMS, SIGNATURE})
"""Members that the list of sums does not name: itself, and the signature over it."""
UNDESCRIBED = frozenset({CRATE, *UNLISTED})
"""Members whose sums the RO-Crate cannot hold, because they come after it."""

ALL_OUTPUTS = ("maps", "stars", "plots", "prov")
