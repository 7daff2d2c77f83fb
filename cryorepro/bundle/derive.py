"""Every member that follows from the others; verification makes them again and compares byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cryorepro.bundle.appendix import artifact_appendix, codecheck
from cryorepro.bundle.citation import cff, codemeta, zenodo
from cryorepro.bundle.crate import MemberSum, crate_json
from cryorepro.bundle.curves import curve_csv, curves_of, fsc_xml
from cryorepro.bundle.empiar import deposition_json
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.layout import CRATE, README, UNLISTED
from cryorepro.bundle.methods import methods
from cryorepro.bundle.onedep import onedep_cif
from cryorepro.bundle.prov import prov_json
from cryorepro.bundle.readme import readme
from cryorepro.bundle.references import bibtex
from cryorepro.bundle.strict_json import render_json
from cryorepro.bundle.table1 import table1_csv, table1_markdown

_TEXTS: dict[str, Callable[[Facts], bytes]] = {
    README: readme,
    "table1.md": table1_markdown,
    "table1.csv": table1_csv,
    "methods.md": methods,
    "references.bib": bibtex,
    "CITATION.cff": cff,
    ".zenodo.json": zenodo,
    "codemeta.json": codemeta,
    "ARTIFACT_APPENDIX.md": artifact_appendix,
    "codecheck.yml": codecheck,
    "deposition/empiar.json": deposition_json,
    "deposition/onedep.cif": onedep_cif,
}


def derived_texts(facts: Facts) -> dict[str, bytes]:
    """Texts and tables by name; pictures and the crate's metadata are made apart."""
    found = {name: make(facts) for name, make in _TEXTS.items()}
    found["record.json"] = render_json({**facts.record, "verdict": facts.verdict})
    found["fingerprint.json"] = render_json(facts.record["fingerprint"])
    if "prov" in facts.info.outputs:
        found["prov.json"] = prov_json(facts)
    for curve in curves_of(facts.record["outcomes"]):
        found[f"curves/{curve.name}.csv"] = curve_csv(curve)
        found[f"curves/{curve.name}.fsc.xml"] = fsc_xml(curve)
    return found


def crate_member(facts: Facts, sums: Mapping[str, MemberSum]) -> bytes:
    """``ro-crate-metadata.json``."""
    return crate_json(facts, {name: found for name, found in sums.items() if name != CRATE})


def sums_text(sums: Mapping[str, MemberSum]) -> bytes:
    """``SHA256SUMS``, as ``sha256sum -c`` reads it."""
    lines = [f"{found.sha256}  {name}\n" for name, found in sorted(sums.items()) if name not in UNLISTED]
    return "".join(lines).encode()
