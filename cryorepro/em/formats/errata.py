"""Known defects of deposited files, as data: applied only where a file really shows them, and recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from cryorepro.em.errors import InputError

DROP_LINE = "drop-line"
_FIELDS = ("id", "dataset", "file_name", "line", "token", "action", "evidence")


@dataclass(frozen=True)
class Erratum:
    """One defect of one deposited file.

    Attributes:
        id: Short name under which its application is recorded.
        dataset: The archive entry, such as `empiar-10028`.
        file_name: Base name of the file.
        line: 1-based line number.
        token: The text that stands alone on that line.
        action: What cures it; `drop-line` is the only one known here.
        evidence: Where the defect was read.
    """

    id: str
    dataset: str
    file_name: str
    line: int
    token: str
    action: str
    evidence: str

    def shown_by(self, name: str, lines: list[str]) -> bool:
        """Whether the file called `name` has this defect at its declared place."""
        here = name == self.file_name and 1 <= self.line <= len(lines)
        return here and lines[self.line - 1].strip() == self.token


def apply_errata(text: str, name: str, errata: Iterable[Erratum]) -> tuple[str, tuple[Erratum, ...]]:
    """Return the cured text and the errata that were applied; sound text comes back unchanged."""
    lines = text.split("\n")
    applied = tuple(erratum for erratum in errata if erratum.shown_by(name, lines))
    if not applied:
        return text, ()
    dropped = {erratum.line - 1 for erratum in applied}
    return "\n".join(line for i, line in enumerate(lines) if i not in dropped), applied


def load_errata(path: Path | str) -> tuple[Erratum, ...]:
    """Read the errata of one YAML file: a mapping with one key, `errata`, a list of records.

    Raises:
        InputError: The file is not YAML, or a record has a missing, unknown or ill-typed field.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: the errata cannot be read ({error}).") from error
    if not isinstance(content, dict) or set(content) != {"errata"} or not isinstance(content["errata"], list):
        raise InputError(f"{path}: expected one key, errata, holding a list.")
    return tuple(erratum_from(record, path) for record in content["errata"])


def erratum_from(record: object, path: Path | str) -> Erratum:
    """Check one record. Raises InputError naming `path` if a field is missing, unknown or ill-typed."""
    if not isinstance(record, dict) or set(record) != set(_FIELDS):
        raise InputError(f"{path}: an erratum needs exactly the fields {', '.join(_FIELDS)}.")
    line = record["line"]
    if not isinstance(line, int) or line < 1:
        raise InputError(f"{path}: erratum {record['id']}: line must be a positive whole number.")
    if record["action"] != DROP_LINE:
        raise InputError(f"{path}: erratum {record['id']}: action {record['action']!r} is not known.")
    return Erratum(line=line, **{field: str(record[field]) for field in _FIELDS if field != "line"})
