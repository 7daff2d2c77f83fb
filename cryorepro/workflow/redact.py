"""Takes what names a person, a machine or a place out of texts that others will read."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WORDS = """
root user users admin data home test work scratch cpu gpu node localhost linux none true false nobody docker
ubuntu debian centos rocky fedora python torch relion cryosparc cryorepro slurm
"""
# Too common to be taken for a name: replacing them would spoil what is told and protect nobody.
_COMMON = frozenset(_WORDS.split())


@dataclass(frozen=True)
class Redactor:
    """Replacements, longest text first, so that a directory goes before the home directory it lies in."""

    replacements: tuple[tuple[re.Pattern[str], str], ...]

    @classmethod
    def of_this_machine(cls, roles: Mapping[str, str] | None = None) -> Redactor:
        """What is personal here: directories of ``roles``, home and working directory, user and host name."""
        paths = {path: f"<{role}>" for role, path in (roles or {}).items()}
        paths.setdefault(str(Path.cwd()), "<cwd>")
        paths.setdefault(os.path.expanduser("~"), "<home>")  # noqa: PTH111 - Path.home() raises without a home
        names = {
            socket.gethostname(): "<host>",
            socket.gethostname().partition(".")[0]: "<host>",
            _user(): "<user>",
        }
        return cls.of(paths, names)

    @classmethod
    def of(cls, paths: Mapping[str, str], names: Mapping[str, str]) -> Redactor:
        """Replace ``paths`` (absolute; ``/`` is ignored) and ``names`` (whole words of three letters up).

        Names that are also common words (root, ubuntu, relion …) stay.
        """
        found = [(path.rstrip("/"), rf"{re.escape(path.rstrip('/'))}(?![\w.-])", word) for path, word in paths.items()]
        found += [
            (name, rf"(?<![\w-]){re.escape(name)}(?![\w-])", word)
            for name, word in names.items()
            if len(name) >= 3 and name.lower() not in _COMMON
        ]
        found = [row for row in found if row[0]]
        found.sort(key=lambda row: -len(row[0]))
        return cls(tuple((re.compile(pattern), word) for _, pattern, word in found))

    def text(self, text: str) -> str:
        """``text`` with every replacement made."""
        for pattern, word in self.replacements:
            text = pattern.sub(word, text)
        return text

    def sentence(self, text: str) -> str:
        """As :meth:`text`; absolute paths that remain, as in the message of an OSError, become ``<path>``."""
        quoted = re.sub(r"(['\"])/[^'\"]+\1", r"\1<path>\1", self.text(text))
        return re.sub(r"(?<![\w.>/])/[\w.@+~-]+(/[\w.@+~-]*)+", "<path>", quoted)

    def value(self, value: Any) -> Any:
        """Plain JSON with every text in it redacted; of keys, only those that hold a path."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(part) for part in value]
        if isinstance(value, dict):
            return {self.text(key) if "/" in key else key: self.value(part) for key, part in value.items()}
        return value


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a number without a name
        return ""
