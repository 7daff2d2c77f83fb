"""Writes a finished run as one file for others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cryorepro
from cryorepro.bundle.crate import MemberSum
from cryorepro.bundle.dataset_facts import dataset_facts
from cryorepro.bundle.derive import crate_member, derived_texts, sums_text
from cryorepro.bundle.facts import Author, BundleInfo, Facts, facts_of
from cryorepro.bundle.figures import figures
from cryorepro.bundle.journal import redact_journal
from cryorepro.bundle.layout import (
    BUNDLE,
    CLAIMS,
    CRATE,
    DATASET,
    EVENTS,
    FORMAT,
    ORIGINAL,
    SEAL,
    SIGNATURE,
    SPEC,
    SUMS,
    USAGE,
)  # fmt: skip
from cryorepro.bundle.outputs import Chosen, choose_outputs
from cryorepro.bundle.privacy import Scrubber, refuse_names
from cryorepro.bundle.signing import sign, statement
from cryorepro.bundle.strict_json import render_json
from cryorepro.bundle.usage import usage_csv
from cryorepro.bundle.zipwrite import Content, write_archive
from cryorepro.em.errors import InputError
from cryorepro.model.dataset import DatasetInfo
from cryorepro.model.registry import load_claims
from cryorepro.workflow.files import read_json, sha256_of
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.record import run_record
from cryorepro.workflow.rundir import RunDirectory

ANONYMOUS = Author(name="Anonymous")
DEFAULT_OUTPUTS = ("plots",)
DEFAULT_LICENCE = "CC-BY-4.0"


@dataclass(frozen=True)
class Person:
    """What the person who exports says: who answers for the bundle, under which licence, where it is registered.

    ``key_file`` (an Ed25519 private key in PEM) signs it; ``workflow`` is its address at WorkflowHub, for EMPIAR.
    """

    authors: Sequence[Author] = (ANONYMOUS,)
    licence: str = DEFAULT_LICENCE
    key_file: Path | None = None
    workflow: str | None = None


NOBODY = Person()


def write_bundle(
    run: Path,
    destination: Path,
    dataset: DatasetInfo | None,
    outputs: Sequence[str] = DEFAULT_OUTPUTS,
    said: Person = NOBODY,
) -> Facts:
    """Write the finished run in the directory ``run`` to ``destination``; nothing is left behind on failure.

    Raises:
        InputError: the run has not ended, ``destination`` exists, an output changed, something personal would leave,
            or what was said has the wrong form.
        StoreError: the run's journal does not hold.
    """
    if destination.exists():
        raise InputError(f"{destination}: exists already")
    scrubber = Scrubber.of_run(run)
    journals = redact_journal(run, scrubber)
    record = run_record(run)
    chosen = choose_outputs(run, record, tuple(outputs), scrubber)
    info = _info(run, chosen, outputs, said, scrubber)
    sources: dict[str, bytes] = {
        BUNDLE: render_json(info.model_dump(mode="json")),
        SPEC: RunDirectory(run).spec.read_bytes(),
        DATASET: render_json(None if dataset is None else dataset_facts(dataset).model_dump(mode="json")),
        CLAIMS: b"[]\n",
        EVENTS: journals.events,
        SEAL: journals.seal,
        ORIGINAL: journals.original,
        **_usage(run, record),
    }
    facts = facts_of(sources)
    sources[CLAIMS] = _claims(facts)
    facts = facts_of(sources)
    texts = {**sources, **derived_texts(facts)}
    refuse_names(scrubber, texts, facts.record)
    pictures = figures(facts) if "plots" in outputs else {}
    write_archive(destination, _complete(facts, {**texts, **pictures, **chosen.members}, said.key_file))
    return facts


def _info(run: Path, chosen: Chosen, outputs: Sequence[str], person: Person, scrubber: Scrubber) -> BundleInfo:
    options = RunOptions.model_validate(read_json(RunDirectory(run).options))
    plain = options.model_copy(update={"data_path": None}).model_dump(mode="json")
    return BundleInfo(
        format=FORMAT,
        cryorepro_version=cryorepro.__version__,
        outputs=list(outputs),
        authors=list(person.authors),
        licence=person.licence,
        workflow=person.workflow,
        options=RunOptions.model_validate(scrubber.value(plain)),
        artifacts=chosen.artifacts,
        left_out=[scrubber.text(text) for text in chosen.left_out],
    )


def _usage(run: Path, record: dict[str, Any]) -> dict[str, bytes]:
    found = {}
    for name, stage in record["stages"].items():
        for attempt in stage["attempts"]:
            path = RunDirectory(run).attempt(name, attempt["attempt"]) / "usage.jsonl"
            if path.is_file():
                found[f"{USAGE}{name}-{attempt['attempt']}.csv"] = usage_csv(path)
    return found


def _claims(facts: Facts) -> bytes:
    """The claims that the benchmark answers to, as the registry has them now."""
    registry = load_claims()
    missing = [identifier for identifier in facts.benchmark.claims if identifier not in registry]
    if missing:
        raise InputError(f"claim '{missing[0]}' of the benchmark is not in the registry")
    return render_json([registry[identifier].model_dump(mode="json") for identifier in facts.benchmark.claims])


def _complete(facts: Facts, members: dict[str, Content], key_file: Path | None) -> dict[str, Content]:
    """Add what describes all the others: the crate's metadata, then the list of sums."""
    sums = {name: _sum(content) for name, content in members.items()}
    members[CRATE] = crate = crate_member(facts, sums)
    members[SUMS] = listed = sums_text({**sums, CRATE: _sum(crate)})
    if key_file is not None:
        members[SIGNATURE] = sign(statement(facts, listed, sums[SPEC].sha256), key_file)
    return members


def _sum(content: Content) -> MemberSum:
    if isinstance(content, Path):
        return MemberSum(sha256_of(content), content.stat().st_size)
    return MemberSum(hashlib.sha256(content).hexdigest(), len(content))
