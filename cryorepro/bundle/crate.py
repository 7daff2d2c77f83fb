"""The run as an RO-Crate: Provenance Run Crate 0.5 on RO-Crate 1.1, with claims, outcomes and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from cryorepro.bundle.citation import SPDX, description, split_name, title
from cryorepro.bundle.crate_actions import add_actions
from cryorepro.bundle.crate_results import add_results
from cryorepro.bundle.crate_terms import CRATE_11, MEDIA_TYPES, PROFILES, STAGE_PROFILES, WORKFLOW_CRATE, context
from cryorepro.bundle.crate_workflow import add_workflow, parameter_id
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.graph import Graph, reference
from cryorepro.bundle.layout import CRATE, README, SPEC, UNDESCRIBED
from cryorepro.bundle.strict_json import render_json
from cryorepro.bundle.wording import accession_url, iso, planned_stages


class MemberSum(NamedTuple):
    """What is said of a member: hash and length."""

    sha256: str
    size_bytes: int


def crate_json(facts: Facts, members: Mapping[str, MemberSum]) -> bytes:
    """``ro-crate-metadata.json`` for a bundle with ``members``."""
    graph = Graph()
    planned = bool(planned_stages(facts))
    described = sorted(name for name in members if name not in UNDESCRIBED)
    _add_descriptor(graph)
    people = [_add_author(graph, facts, index) for index in range(len(facts.info.authors))]
    workflow = add_workflow(graph, facts, people, members[SPEC])
    actions = add_actions(graph, facts, people[0], described)
    results = add_results(graph, facts)
    parts = [_add_file(graph, facts, name, members[name]) for name in described]
    remote = [reference(row["@id"]) for row in graph.entities() if row["@type"] == "File" and ":" in row["@id"]]
    root = {
        "conformsTo": [
            _add_profile(graph, *profile) for profile in PROFILES if planned or profile not in STAGE_PROFILES
        ],
        "name": title(facts),
        "description": description(facts),
        "datePublished": facts.ended[:10],
        "license": graph.add(SPDX + facts.info.licence, "CreativeWork", name=facts.info.licence, description="Licence"),
        "author": people,
        "publisher": _add_publisher(graph, facts),
        "mainEntity": workflow,
        "isBasedOn": _add_archive(graph, facts),
        "hasPart": [*parts, *remote],
        "mentions": [*actions, *results],
    }
    graph.add("./", "Dataset", **root)
    return render_json({"@context": context(), "@graph": graph.entities()})


def _add_descriptor(graph: Graph) -> None:
    graph.add(CRATE, "CreativeWork", about=reference("./"), conformsTo=[reference(CRATE_11), reference(WORKFLOW_CRATE)])


def _add_profile(graph: Graph, identifier: str, name: str, version: str) -> dict[str, Any]:
    return graph.add(identifier, "CreativeWork", name=name, version=version)


def _add_author(graph: Graph, facts: Facts, index: int) -> dict[str, Any]:
    author = facts.info.authors[index]
    identifier = f"https://orcid.org/{author.orcid}" if author.orcid else f"#author-{index + 1}"
    given, family = split_name(author)
    names = {"name": author.name, "givenName": given or None, "familyName": family if given else None}
    place = None
    if author.affiliation:
        where = author.affiliation_url or f"#affiliation-{index + 1}"
        place = graph.add(where, "Organization", name=author.affiliation, url=author.affiliation_url)
    return graph.add(identifier, "Person", **names, affiliation=place)


def _add_publisher(graph: Graph, facts: Facts) -> dict[str, Any] | None:
    first = facts.info.authors[0]
    where = first.affiliation_url or "#affiliation-1"
    return reference(where) if where in graph else None


def _add_archive(graph: Graph, facts: Facts) -> dict[str, Any] | None:
    """The entry the data come from, as a thing elsewhere: never terabytes in here."""
    info = facts.dataset
    if info is None:
        return None
    return graph.add(
        accession_url(facts), "CreativeWork", name=f"{info.accession}: {info.title}", identifier=info.accession,
        description=info.sample,
    )  # fmt: skip


def _add_file(graph: Graph, facts: Facts, name: str, found: MemberSum) -> dict[str, Any]:
    about = reference("./") if name == README else None
    artifact = next((row for row in facts.info.artifacts if row.member == name), None)
    text = example = None
    if artifact is not None:
        example = reference(parameter_id(f"{artifact.stage}-{artifact.role}"))
        text = f"Output '{artifact.role}' of stage '{artifact.stage}', {artifact.run_path} of the run"
        text += "; places and names were taken out" if artifact.redacted else ""
    return graph.add(
        name, "File", name=name, exampleOfWork=example, description=text,
        encodingFormat=MEDIA_TYPES.get(PurePosixPath(name).suffix),
        contentSize=str(found.size_bytes), sha256=found.sha256, about=about, dateModified=iso(facts.ended),
    )  # fmt: skip
