"""Checks a bundle without a network: structure, sums, journal, lineage, numbers, verdicts, texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cryorepro
from cryorepro.bundle.chosen import option_problems
from cryorepro.bundle.derive import crate_member, derived_texts
from cryorepro.bundle.facts import Facts
from cryorepro.bundle.layout import ARTIFACTS, CRATE, FIGURES, SIGNATURE, SOURCES, SPEC, SUMS, USAGE
from cryorepro.bundle.lineage import artifact_problems, lineage_problems, time_problems
from cryorepro.bundle.read import Bundle, artifact_members, read_bundle
from cryorepro.bundle.rederive import rederive_outcomes, rejudge
from cryorepro.bundle.signing import NO_LIBRARY, at_hand, check_signature, public_key_id, statement
from cryorepro.bundle.untrusted import untrusted
from cryorepro.bundle.zipread import Archive
from cryorepro.em.errors import InputError
from cryorepro.model.registry import load_claims
from cryorepro.store.errors import StoreError


@dataclass(frozen=True)
class Finding:
    """One sentence: ``holds``, ``note`` (to know, no defect) or ``problem``."""

    kind: str
    text: str


@dataclass(frozen=True)
class Report:
    """What verification found; ``bundle`` is None when it could not be read at all."""

    findings: list[Finding]
    bundle: Bundle | None

    @property
    def holds(self) -> bool:
        """No problem was found."""
        return all(finding.kind != "problem" for finding in self.findings)


def verify_bundle(path: Path, key_file: Path | None = None) -> Report:
    """Check everything that can be checked here; never raises on what a bundle holds.

    With ``key_file`` (an Ed25519 public key in PEM) the bundle must be signed by that key.

    Raises:
        InputError: ``path`` does not exist, or ``key_file`` holds no such key.
    """
    key = public_key_id(key_file) if key_file else None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        bundle = read_bundle(path)
        with untrusted(path):
            findings = _findings(bundle) + _signature(bundle, key)
    except (InputError, StoreError) as error:
        return Report([Finding("problem", str(error))], None)
    return Report(findings, bundle)


def verified_bundle(path: Path) -> Bundle:
    """A bundle that was verified.  Raises InputError with the first problem when it does not hold."""
    report = verify_bundle(path)
    if report.bundle is None or not report.holds:
        raise InputError(next(finding.text for finding in report.findings if finding.kind == "problem"))
    return report.bundle


def _findings(bundle: Bundle) -> list[Finding]:
    facts = bundle.facts
    members = len(bundle.sums)
    found = [
        Finding("holds", f"archive: {members} members, each with the sum that {SUMS} gives"),
        Finding("holds", f"journal: {len(facts.events)} events in one chain, which ends at the head its seal pins"),
        Finding("note", _redaction(facts)),
    ]
    checks: list[tuple[str, Callable[[], list[str]]]] = [
        ("members: each is a source, an output of this run, or follows from them", lambda: _belonging(bundle)),
        ("lineage: every outcome was measured on files of a stage of this run", lambda: lineage_problems(facts)),
        ("outputs: each is the file that the journal says the stage wrote", lambda: artifact_problems(bundle)),
        ("options: with which it can be run again are those of this run", lambda: option_problems(facts)),
        ("times: stages and attempts add up to the elapsed time", lambda: time_problems(facts)),
    ]  # fmt: skip
    for sentence, check in checks:
        found += _result(sentence, check())
    found += _verdicts(facts)
    return found + _numbers(facts) + _texts(bundle) + _registry(facts)


def _result(sentence: str, problems: list[str]) -> list[Finding]:
    return [Finding("problem", text) for text in problems] or [Finding("holds", sentence)]


def _redaction(facts: Facts) -> str:
    whole = len(facts.events) - facts.redacted_events
    return (
        f"journal: {whole} events are the original's to the letter; {facts.redacted_events} had places or names taken "
        "out, which only the holder of the original can confirm"
    )


def _belonging(bundle: Bundle) -> list[str]:
    expected = {*SOURCES, SUMS, CRATE, SIGNATURE, *derived_texts(bundle.facts), *artifact_members(bundle.facts)}
    strange = [name for name in sorted(bundle.sums) if name not in expected and not name.startswith((FIGURES, USAGE))]
    missing = sorted(expected - bundle.sums.keys() - {SIGNATURE})
    return [
        *(f"the member '{name}' is nothing that export writes" for name in strange),
        *(f"the member '{name}' is missing" for name in missing),
        *(f"{ARTIFACTS}: '{row.member}' lies elsewhere" for row in bundle.facts.info.artifacts
          if not row.member.startswith(ARTIFACTS)),
    ]  # fmt: skip


def _verdicts(facts: Facts) -> list[Finding]:
    """Another version may judge by other rules, which is to know and no defect."""
    found = _result("verdicts: given again from benchmark, claims and outcomes, they are the same", rejudge(facts))
    if facts.info.cryorepro_version == cryorepro.__version__:
        return found
    return [Finding("note" if row.kind == "problem" else row.kind, row.text) for row in found]


def _numbers(facts: Facts) -> list[Finding]:
    derived, taken, problems = rederive_outcomes(facts)
    found = [Finding("problem", text) for text in problems]
    if derived:
        found.append(Finding("holds", f"numbers: derived again from their curves and tables: {', '.join(derived)}"))
    if taken:
        text = f"numbers: {', '.join(taken)} rest on the journal alone; 'cryorepro reproduce' measures them again"
        found.append(Finding("note", text))
    return found


def _texts(bundle: Bundle) -> list[Finding]:
    """Make every text again. Another version may word them otherwise; which ones differ is told all the same."""
    facts = bundle.facts
    texts = {**derived_texts(facts), CRATE: crate_member(facts, bundle.sums)}
    with Archive.open(bundle.path) as archive:
        stored = {name: archive.read(name) for name in texts if name in archive.entries}
    wrong = sorted(name for name, content in stored.items() if content != texts[name])
    written, here = facts.info.cryorepro_version, cryorepro.__version__
    if wrong and written != here:
        names = ", ".join(wrong)
        text = f"texts: cryorepro {here} words these otherwise than {written}, which says it wrote them: {names}"
        found = [Finding("note", f"{text}; believe the journal, not the texts")]
    else:
        problems = [f"{name}: is not what follows from the run's record: its text was changed" for name in wrong]
        found = _result(f"texts: {len(texts)} texts and tables, made again from the record, are the same", problems)
    return found + _pictures(bundle)


def _pictures(bundle: Bundle) -> list[Finding]:
    pictures = sum(name.startswith(FIGURES) for name in bundle.sums)
    text = f"figures: {pictures} pictures, held by their sums; their numbers are in curves/ and usage/"
    return [Finding("note", text)] if pictures else []


def _signature(bundle: Bundle, wanted: str | None) -> list[Finding]:
    if SIGNATURE not in bundle.sums:
        text = "signature: none; whoever made this bundle could have made another"
        return [Finding("problem" if wanted else "note", text)]
    if not at_hand():
        return [Finding("note", f"signature: there is one, and checking it {NO_LIBRARY}")]
    with Archive.open(bundle.path) as archive:
        expected = statement(bundle.facts, archive.read(SUMS), bundle.sums[SPEC].sha256)
        found = check_signature(archive.read(SIGNATURE), expected)
    if wanted and found != wanted:
        return [Finding("problem", f"signature: by key {found[:16]}, not by the key that was given")]
    whose = "the key that was given" if wanted else f"key {found[:16]}; whose it is, its owner must say (--key)"
    return [Finding("holds", f"signature: Ed25519, by {whose}")]


def _registry(facts: Facts) -> list[Finding]:
    here = load_claims()
    other = sorted(name for name, claim in facts.claims.items() if here.get(name) != claim)
    if other:
        return [Finding("note", f"claims: {', '.join(other)} differ from the registry of this cryorepro")]
    return [Finding("holds", "claims: the same as in the registry of this cryorepro")] if facts.claims else []
