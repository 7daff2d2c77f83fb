"""Takes places, people and machines out of what a bundle says, and refuses to write one that still names them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cryorepro.bundle.strict_json import parse_json
from cryorepro.em.errors import InputError
from cryorepro.workflow.redact import Redactor

_STRUCTURE = frozenset({
    "attempt", "benchmark", "claim", "dataset", "distribution", "from", "from_stage", "kind", "metric", "name",
    "outcome", "plugin", "role", "run_uid", "runner", "sha256", "stage", "status", "tier", "unit",
})  # fmt: skip
"""Keys whose values are names that this program or a plugin gave; replacing in them would break the record."""
_PLACE = re.compile(r"(?<![\w.>/<])/[\w@+~%=-][\w.@+~%=-]*(?:/[\w.@+~%=-]*)+")
_FILE_URL = re.compile(r"\bfile://[^\s'\"]*")
_KEPT_SUFFIXES = frozenset({".star", ".mrc", ".mrcs", ".map", ".json", ".yaml", ".txt", ".xml", ".cif"})
_PERSONAL_VARIABLES = (
    "USER", "LOGNAME", "SLURM_JOB_USER", "SLURM_JOB_ACCOUNT", "SLURMD_NODENAME", "SLURM_SUBMIT_HOST",
    "SLURM_JOB_NODELIST",
)  # fmt: skip


@dataclass(frozen=True)
class Scrubber:
    """Replaces known places and names, then every absolute path that is left."""

    redactor: Redactor

    @classmethod
    def of_run(cls, run: Path) -> Scrubber:
        """What is personal about ``run``: its store, this machine, and the environment its stages were given."""
        store = run.parent.parent
        roles = {
            str(run): "<run>", str(store / "data"): "<data>", str(store / "truth"): "<truth>", str(store): "<store>",
        }  # fmt: skip
        roles.update({str(Path(path).resolve()): word for path, word in roles.items()})
        names: dict[str, str] = {}
        for path in sorted(run.glob("attempts/*/attempt.json")):
            environment = parse_json(path.read_bytes(), str(path)).get("environment", {})
            names |= {str(environment[key]): "<name>" for key in _PERSONAL_VARIABLES if key in environment}
            roles.setdefault(str(environment.get("HOME", "/")), "<home>")
        here = Redactor.of_this_machine().replacements
        own = Redactor.of(roles, names).replacements
        found = sorted({*own, *here}, key=lambda row: -len(row[0].pattern))
        return cls(Redactor(tuple(found)))

    def text(self, text: str) -> str:
        """``text`` without places and names."""
        return _PLACE.sub(_place, _FILE_URL.sub("<path>", self.redactor.text(text)))

    def value(self, value: Any, key: str = "") -> Any:
        """Plain JSON with its texts scrubbed, except those that name parts of the record."""
        if isinstance(value, str):
            return value if key in _STRUCTURE and "/" not in value else self.text(value)
        if isinstance(value, list):
            return [self.value(part, key) for part in value]
        if isinstance(value, Mapping):
            return {self.text(name) if "/" in name else name: self.value(part, name) for name, part in value.items()}
        return value

    def star(self, content: bytes) -> bytes:
        """A STAR file with its texts scrubbed; columns keep their order."""
        return self.text(content.decode("utf-8", "replace")).encode()

    def names_someone(self, content: bytes) -> str | None:
        """The first place or name in ``content`` that should not be there; None when there is none."""
        text = content.decode("utf-8", "replace")
        hit = next((found for pattern, _ in self.redactor.replacements if (found := pattern.search(text))), None)
        hit = hit or _FILE_URL.search(text) or _PLACE.search(text)
        return hit.group() if hit else None


def _place(found: re.Match[str]) -> str:
    """An absolute path keeps its last part only when that is a program or a data file."""
    path = PurePosixPath(found.group())
    if path.parent.name in ("bin", "sbin"):
        return path.name
    return f"<path>/{path.name}" if path.suffix in _KEPT_SUFFIXES else "<path>"


def refuse_names(scrubber: Scrubber, texts: Mapping[str, bytes], known: Any) -> None:
    """Last check before a bundle is written.

    ``known`` is the record; a name that is also a name of its parts (a user called ``mask``) is let through.

    Raises:
        InputError: a member still names a person, a machine or a place.
    """
    structure = set(re.findall(r"[\w.-]+", json.dumps(known)))
    for name, content in sorted(texts.items()):
        hit = scrubber.names_someone(content)
        if hit is not None and hit not in structure:
            raise InputError(f"{name}: would name '{hit[:80]}', a place, person or machine; nothing was written")
