"""The reference list: data, software and methods that the run's own rows name, as BibTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryorepro.bundle.curves import curves_of
from cryorepro.bundle.dataset_facts import Paper
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.wording import accession_url, planned_stages


@dataclass(frozen=True)
class Reference:
    """One BibTeX entry."""

    key: str
    kind: str
    fields: dict[str, str]


_SCHERES = Reference("scheres2012", "article", {
    "author": "Scheres, Sjors H. W.",
    "title": "{RELION}: Implementation of a {Bayesian} approach to cryo-{EM} structure determination",
    "journal": "Journal of Structural Biology", "volume": "180", "number": "3", "pages": "519--530", "year": "2012",
    "doi": "10.1016/j.jsb.2012.09.006",
})  # fmt: skip
_ZIVANOV = Reference("zivanov2018", "article", {
    "author": "Zivanov, Jasenko and Nakane, Takanori and Forsberg, Bj{\\\"o}rn O. and Kimanius, Dari and "
              "Hagen, Wim J. H. and Lindahl, Erik and Scheres, Sjors H. W.",
    "title": "New tools for automated high-resolution cryo-{EM} structure determination in {RELION}-3",
    "journal": "eLife", "volume": "7", "pages": "e42166", "year": "2018", "doi": "10.7554/eLife.42166",
})  # fmt: skip
_ROSENTHAL = Reference("rosenthal2003", "article", {
    "author": "Rosenthal, Peter B. and Henderson, Richard",
    "title": "Optimal determination of particle orientation, absolute hand, and contrast loss in single-particle "
             "electron cryomicroscopy",
    "journal": "Journal of Molecular Biology", "volume": "333", "number": "4", "pages": "721--745", "year": "2003",
    "doi": "10.1016/j.jmb.2003.07.013",
})  # fmt: skip
_CHEN = Reference("chen2013", "article", {
    "author": "Chen, Shaoxia and McMullan, Greg and Faruqi, Abdul R. and Murshudov, Garib N. and Short, Judith M. and "
              "Scheres, Sjors H. W. and Henderson, Richard",
    "title": "High-resolution noise substitution to measure overfitting and validate resolution in {3D} structure "
             "determination by single particle electron cryomicroscopy",
    "journal": "Ultramicroscopy", "volume": "135", "pages": "24--35", "year": "2013",
    "doi": "10.1016/j.ultramic.2013.06.004",
})  # fmt: skip
_LEO = Reference("leo2024", "article", {
    "author": "Leo, Simone and others",
    "title": "Recording provenance of workflow runs with {RO-Crate}",
    "journal": "PLoS ONE", "volume": "19", "number": "9", "pages": "e0309210", "year": "2024",
    "doi": "10.1371/journal.pone.0309210",
})  # fmt: skip


def references(facts: Facts) -> list[Reference]:
    """What this run should cite; nothing it did not use."""
    found = [*_data(facts)]
    runners = " ".join(stage["program"].get("name", "") for stage in planned_stages(facts).values())
    if "RELION" in runners.upper():
        found += [_SCHERES, _ZIVANOV]
    meanings = {curve.meaning for curve in curves_of(facts.record["outcomes"]) if curve.threshold == 0.143}
    if meanings:
        found.append(_ROSENTHAL)
    if any("mask-corrected" in meaning for meaning in meanings):
        found.append(_CHEN)
    version = facts.info.cryorepro_version
    found.append(Reference("cryorepro", "software", {"title": "cryorepro", "version": version}))
    return [*found, _LEO, *_claims(facts)]


def _data(facts: Facts) -> list[Reference]:
    info = facts.dataset
    if info is None:
        return []
    entry = {"title": f"{{{info.title}}}", "howpublished": f"{info.accession}", "url": accession_url(facts)}
    if info.dataset_doi:
        entry["doi"] = info.dataset_doi
    found = [Reference("dataset", "misc", entry)]
    if info.publication:
        found.append(Reference("dataset-paper", "article", _paper(info.publication)))
    elif info.publication_doi:
        paper = {"title": f"Publication of {info.accession}", "doi": info.publication_doi}
        found.append(Reference("dataset-paper", "misc", paper))
    return found


def _paper(paper: Paper) -> dict[str, str]:
    names = [f"{author.family}, {author.given}" for author in paper.authors] + (["others"] if paper.others else [])
    fields = {
        "author": " and ".join(names), "title": f"{{{paper.title}}}", "journal": paper.journal, "year": str(paper.year),
        "volume": paper.volume, "pages": paper.pages, "doi": paper.doi,
    }  # fmt: skip
    return {name: text for name, text in fields.items() if text}


def _claims(facts: Facts) -> list[Reference]:
    found: dict[str, Reference] = {}
    for claim in facts.claims.values():
        key = "claim-" + re.sub(r"[^a-z0-9]+", "-", claim.source.lower()).strip("-")[:60]
        found.setdefault(key, Reference(key, "misc", {"title": claim.source, "note": claim.locator}))
    return list(found.values())


def bibtex(facts: Facts) -> bytes:
    """``references.bib``."""
    blocks = []
    for reference in references(facts):
        fields = ",\n".join(f"  {name} = {{{_clean(text)}}}" for name, text in reference.fields.items())
        blocks.append(f"@{reference.kind}{{{reference.key},\n{fields}\n}}\n")
    return "\n".join(blocks).encode()


def _clean(text: str) -> str:
    return " ".join(text.split()).replace("&", "\\&").replace("%", "\\%").replace("_", "\\_")
