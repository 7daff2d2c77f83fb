"""What the plugins of this process contribute, what was refused and why."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from cryorepro.em.errors import InputError
from cryorepro.plugins.discovery import Provenance
from cryorepro.plugins.trace import HookCall
from cryorepro.plugins.types import KINDS, Descriptor

D = TypeVar("D", bound=Descriptor)
D_co = TypeVar("D_co", bound=Descriptor, covariant=True)


@dataclass(frozen=True)
class Plugin:
    """An accepted plugin: one entry point, its distribution and the names it contributes by kind."""

    name: str
    entry_point: str
    api: str
    provenance: Provenance
    contributes: dict[str, tuple[str, ...]]

    @property
    def distribution(self) -> str:
        """Name of the distribution that ships it."""
        return self.provenance.distribution

    @property
    def version(self) -> str:
        """Version of that distribution."""
        return self.provenance.version

    @property
    def label(self) -> str:
        """As sentences name it: ``'datasets' of cryorepro 0.1.0``."""
        return f"'{self.name}' of {self.distribution} {self.version}"


@dataclass(frozen=True)
class Refusal:
    """A plugin that was not accepted; nothing of it remains registered."""

    plugin: str
    entry_point: str
    distribution: str
    version: str
    error: str
    traceback: str = ""


@dataclass(frozen=True)
class Registered(Generic[D_co]):
    """A descriptor with the plugin that registered it."""

    kind: str
    descriptor: D_co
    plugin: str
    distribution: str
    version: str

    @property
    def name(self) -> str:
        """The descriptor's name, unique within its kind."""
        return self.descriptor.name

    @property
    def source(self) -> str:
        """The plugin as sentences name it: ``'relion' (cryorepro 0.1.0)``."""
        return f"'{self.plugin}' ({self.distribution} {self.version})"

    @property
    def label(self) -> str:
        """As sentences name it: ``runner 'relion' of plugin 'relion' (cryorepro 0.1.0)``."""
        return f"{self.kind[:-1]} '{self.name}' of plugin {self.source}"


def kind_name(kind: str | type[Descriptor]) -> str:
    """The plural word of a kind, from the word itself or the descriptor class.

    Raises:
        InputError: there is no such kind.
    """
    for word, descriptor_type in KINDS.items():
        if kind in (word, descriptor_type):
            return word
    raise InputError(f"there is no plugin kind {kind!r}; the kinds are {', '.join(KINDS)}")


@dataclass(frozen=True)
class Catalogue:
    """Everything registered in this process. Built by :func:`cryorepro.plugins.loader.load_catalogue`."""

    entries: dict[str, dict[str, Registered[Descriptor]]]
    plugins: tuple[Plugin, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    disabled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    calls: tuple[HookCall, ...] = field(default=(), repr=False)

    @overload
    def get(self, kind: type[D], name: str) -> Registered[D]: ...

    @overload
    def get(self, kind: str, name: str) -> Registered[Any]: ...

    def get(self, kind: str | type[Descriptor], name: str) -> Registered[Any]:
        """The entry of that kind and name.

        Raises:
            InputError: nothing is registered under it; the sentence lists near names and refused plugins.
        """
        word = kind_name(kind)
        found = self.entries.get(word, {}).get(name)
        if found is None:
            raise InputError(self._unknown(word, name))
        return found

    @overload
    def all(self, kind: type[D]) -> list[Registered[D]]: ...

    @overload
    def all(self, kind: str) -> list[Registered[Any]]: ...

    def all(self, kind: str | type[Descriptor]) -> list[Registered[Any]]:
        """Every entry of a kind, by name.

        Raises:
            InputError: there is no such kind.
        """
        return [entry for _, entry in sorted(self.entries.get(kind_name(kind), {}).items())]

    def _unknown(self, kind: str, name: str) -> str:
        known = sorted(self.entries.get(kind, {}))
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(near) + "?"
        else:
            hint = "known: " + (", ".join(known) if known else "none")
        sentence = f"no {kind[:-1]} is named '{name}'; {hint}"
        if self.refusals:
            names = ", ".join(f"{refusal.plugin} ({refusal.distribution})" for refusal in self.refusals)
            sentence += f" (refused plugins: {names}; see 'cryorepro plugins list')"
        return sentence
