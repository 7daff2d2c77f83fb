"""From a bundle's archive to its facts, refusing whatever is not what export writes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryorepro.bundle.crate import MemberSum
from cryorepro.bundle.derive import sums_text
from cryorepro.bundle.facts import Facts, facts_of
from cryorepro.bundle.layout import ARTIFACTS, FORMAT, SOURCES, SUMS, UNLISTED, USAGE
from cryorepro.bundle.untrusted import untrusted
from cryorepro.bundle.zipread import Archive
from cryorepro.em.errors import InputError

_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True)
class Bundle:
    """A bundle whose sums hold and whose sources could be read."""

    path: Path
    facts: Facts
    sums: dict[str, MemberSum]

    @property
    def sha256(self) -> str:
        """Hash of the whole file."""
        digest = hashlib.sha256()
        with self.path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def read_bundle(path: Path) -> Bundle:
    """Open ``path``, hold every member to its sum, and read the sources.

    Raises:
        InputError: it is no bundle, or a member is not what the bundle says; one sentence.
        StoreError: the journal does not hold.
    """
    with Archive.open(path) as archive:
        sums = check_sums(archive)
        missing = [name for name in SOURCES if name not in archive.entries]
        if missing:
            raise InputError(f"{path}: the member '{missing[0]}' is missing")
        usage = [name for name in archive.entries if name.startswith(USAGE)]
        sources = {name: archive.read(name) for name in [*SOURCES, *usage]}
    with untrusted(path):
        facts = facts_of(sources)
    if facts.info.format != FORMAT:
        raise InputError(f"{path}: has format {facts.info.format}, and this version of cryorepro reads {FORMAT}")
    return Bundle(path, facts, sums)


def check_sums(archive: Archive) -> dict[str, MemberSum]:
    """Sums of all members, computed here and held to ``SHA256SUMS``.

    Raises:
        InputError: a member is missing, is not listed, or has another hash than the one listed.
    """
    where = archive.path
    text = archive.read(SUMS).decode("utf-8", "replace")
    listed: dict[str, str] = {}
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None or found.group(2) in listed:
            raise InputError(f"{where}: '{line[:80]}' in {SUMS} is no line of a list of sums")
        listed[found.group(2)] = found.group(1)
    computed = {name: MemberSum(archive.sha256(name), entry.size_bytes) for name, entry in archive.entries.items()}
    for name in sorted(listed.keys() | computed.keys() - UNLISTED):
        if name not in computed:
            raise InputError(f"{where}: the member '{name}' is listed in {SUMS} and missing")
        if name not in listed:
            raise InputError(f"{where}: the member '{name}' is not listed in {SUMS}")
        if listed[name] != computed[name].sha256:
            raise InputError(f"{where}: the member '{name}' is not what {SUMS} says: it was changed")
    if sums_text(computed) != text.encode():
        raise InputError(f"{where}: {SUMS} is not in the form export writes")
    return computed


def artifact_members(facts: Facts) -> set[str]:
    """Members that hold outputs of the run."""
    return {row.member for row in facts.info.artifacts if row.member.startswith(ARTIFACTS)}
