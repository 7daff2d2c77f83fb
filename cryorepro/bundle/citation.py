"""How to cite the bundle: CITATION.cff, .zenodo.json, codemeta.json."""

from __future__ import annotations

import json
from typing import Any

from cryorepro.bundle.facts import Author, Facts
from cryorepro.bundle.strict_json import render_json
from cryorepro.bundle.wording import accession_url

SPDX = "https://spdx.org/licenses/"


def title(facts: Facts) -> str:
    """The bundle's own title."""
    return f"Run of {facts.benchmark.title} (tier {facts.settings['tier']}), {facts.run}"


def description(facts: Facts) -> str:
    """One paragraph for archives."""
    return (
        f"A run of the benchmark {facts.benchmark.name} {facts.benchmark.version} with cryorepro "
        f"{facts.info.cryorepro_version}: commands, environment, use of the machine, outcomes and verdict "
        f"({facts.verdict}), verifiable offline with 'cryorepro verify'."
    )


def split_name(author: Author) -> tuple[str, str]:
    """Given and family name; the last word is taken for the family name."""
    given, _, family = author.name.strip().rpartition(" ")
    return given, family


def cff(facts: Facts) -> bytes:
    """CITATION.cff 1.2.0. JSON texts are YAML texts, so every value is quoted the way JSON does it."""
    lines = ["cff-version: 1.2.0", 'message: "If you use this run, please cite it as below."', "type: dataset"]
    lines += [f"title: {_quoted(title(facts))}", f"abstract: {_quoted(description(facts))}", "authors:"]
    for author in facts.info.authors:
        given, family = split_name(author)
        rows = [f"family-names: {_quoted(family)}", f"given-names: {_quoted(given)}"] if given else []
        rows = rows or [f"name: {_quoted(author.name)}"]
        if author.orcid:
            rows.append(f"orcid: {_quoted('https://orcid.org/' + author.orcid)}")
        if author.affiliation and given:
            rows.append(f"affiliation: {_quoted(author.affiliation)}")
        lines += [f"  {'- ' if row is rows[0] else '  '}{row}" for row in rows]
    lines += [f"license: {_quoted(facts.info.licence)}", f"date-released: {_quoted(facts.ended[:10])}"]
    lines += ["keywords:", '  - "cryo-EM"', '  - "reproducibility"', ""]
    return "\n".join(lines).encode()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def zenodo(facts: Facts) -> bytes:
    """Metadata that Zenodo reads on upload; no identifier is claimed that does not exist."""
    related = [{"identifier": accession_url(facts), "relation": "isDerivedFrom", "scheme": "url"}]
    return render_json({
        "title": title(facts),
        "description": description(facts),
        "upload_type": "dataset",
        "access_right": "open",
        "license": facts.info.licence.lower(),
        "creators": [_creator(author) for author in facts.info.authors],
        "keywords": ["cryo-EM", "reproducibility", facts.benchmark.name],
        "related_identifiers": related,
    })  # fmt: skip


def _creator(author: Author) -> dict[str, str]:
    given, family = split_name(author)
    found = {"name": f"{family}, {given}" if given else author.name}
    if author.orcid:
        found["orcid"] = author.orcid
    if author.affiliation:
        found["affiliation"] = author.affiliation
    return found


def codemeta(facts: Facts) -> bytes:
    """CodeMeta 3.0 for the software that made the run."""
    people: list[dict[str, Any]] = []
    for author in facts.info.authors:
        given, family = split_name(author)
        names = {"givenName": given, "familyName": family} if given else {"name": author.name}
        identity = {"id": f"https://orcid.org/{author.orcid}"} if author.orcid else {}
        people.append({"type": "Person" if given else "Organization", **identity, **names})
    return render_json({
        "@context": "https://w3id.org/codemeta/3.0",
        "type": "SoftwareSourceCode",
        "name": title(facts),
        "description": description(facts),
        "author": people,
        "license": SPDX + facts.info.licence,
        "datePublished": facts.ended[:10],
        "programmingLanguage": "YAML",
        "softwareRequirements": [f"cryorepro {facts.info.cryorepro_version}"],
        "isPartOf": accession_url(facts),
    })  # fmt: skip
