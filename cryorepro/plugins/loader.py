"""Finds, checks and registers plugins; one broken plugin takes neither others nor the command line down.

Every entry point is tried alone. Whatever it raises (SystemExit included, only Ctrl-C passes) is recorded as
a :class:`~cryorepro.plugins.catalogue.Refusal`, and nothing of that plugin stays registered. First-party
plugins come first, so no other distribution can take a name of theirs; between others the later one, by
distribution name, is refused with a sentence that names both.

Importing a plugin runs its code: a plugin is trusted like any other installed package. One that hangs or ends
the interpreter (``os._exit``) while it is imported cannot be caught, only left out by the settings below.

Environment: ``CRYOREPRO_NO_PLUGINS=1`` loads first-party plugins only, ``CRYOREPRO_DISABLE_PLUGINS=a,b``
leaves out plugins by entry-point name, distribution, or ``distribution:name``; ``CRYOREPRO_TRACE_PLUGINS=1``
prints every hook call to standard error.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType

import pluggy

from cryorepro.plugins import hookspecs
from cryorepro.plugins.catalogue import Catalogue, Plugin, Refusal, Registered
from cryorepro.plugins.checks import check_api, check_descriptors
from cryorepro.plugins.discovery import Candidate, candidates, normalised
from cryorepro.plugins.errors import ContractError, one_line
from cryorepro.plugins.trace import HookCall, report
from cryorepro.plugins.types import KINDS, Descriptor

NO_PLUGINS = "CRYOREPRO_NO_PLUGINS"
DISABLE = "CRYOREPRO_DISABLE_PLUGINS"


@functools.cache
def load_catalogue() -> Catalogue:
    """The catalogue of this process, built once. Never raises because of a plugin."""
    return build_catalogue(candidates(), os.environ)


def build_catalogue(found: Sequence[Candidate], environment: Mapping[str, str]) -> Catalogue:
    """Load ``found`` in the order given, as ``environment`` allows."""
    chosen, disabled, notes = select(found, environment)
    loader = _Loader(environment)
    for candidate in chosen:
        loader.load(candidate)
    return Catalogue(
        entries=loader.entries,
        plugins=tuple(loader.plugins),
        refusals=tuple(loader.refusals),
        disabled=tuple(disabled),
        notes=tuple(notes),
        calls=tuple(loader.calls),
    )


def select(found: Sequence[Candidate], environment: Mapping[str, str]) -> tuple[list[Candidate], list[str], list[str]]:
    """Those to load, the keys of those left out, and notes on settings that match nothing."""
    first_party_only = environment.get(NO_PLUGINS, "") not in ("", "0")
    words = {word.strip() for word in environment.get(DISABLE, "").split(",") if word.strip()}
    chosen, disabled, used = [], [], set()
    for candidate in found:
        names = {candidate.name, candidate.key, normalised(candidate.provenance.distribution)}
        used |= words & names
        if words & names or (first_party_only and not candidate.first_party):
            disabled.append(candidate.key)
        else:
            chosen.append(candidate)
    unused = sorted(words - used)
    return (
        chosen,
        disabled,
        [f"{DISABLE} names '{word}', but no installed plugin is called so" for word in unused],
    )


class _Loader:
    """Loads candidates one by one into ``entries``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.manager = pluggy.PluginManager("cryorepro")
        self.manager.add_hookspecs(hookspecs)
        self.entries: dict[str, dict[str, Registered[Descriptor]]] = {kind: {} for kind in KINDS}
        self.plugins: list[Plugin] = []
        self.refusals: list[Refusal] = []
        self.calls: list[HookCall] = []

    def load(self, candidate: Candidate) -> None:
        """Accept the plugin whole or refuse it whole."""
        modules, path = set(sys.modules), list(sys.path)
        try:
            # A plugin that prints while loading must not spoil what the command prints for machines.
            with contextlib.redirect_stdout(sys.stderr):
                self._accept(candidate)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises is its refusal
            self._refuse(candidate, error)
            self._roll_back(candidate, modules, path)

    def _accept(self, candidate: Candidate) -> None:
        if candidate.problem:
            raise ContractError(candidate.problem)
        with self._call(candidate, "import"):
            module = importlib.import_module(candidate.module)
        api = check_api(module)
        self._register(candidate, module)
        new = {kind: self._collect(candidate, kind) for kind in KINDS}
        for kind, rows in new.items():
            for row in rows:
                self._check_collision(candidate, kind, row)
        for kind, rows in new.items():
            self.entries[kind].update({row.name: _registered(candidate, kind, row) for row in rows})
        contributes = {kind: tuple(row.name for row in rows) for kind, rows in new.items() if rows}
        self.plugins.append(Plugin(candidate.name, candidate.module, api, candidate.provenance, contributes))

    def _register(self, candidate: Candidate, module: ModuleType) -> None:
        self.manager.register(module, name=candidate.key)
        unknown = sorted(self._unknown_hooks(module))
        if unknown:
            raise ContractError(f"it implements hook '{unknown[0]}', which this cryorepro does not have")

    def _unknown_hooks(self, module: ModuleType) -> Iterator[str]:
        known = {f"cryorepro_{kind}" for kind in KINDS}
        for caller in self.manager.get_hookcallers(module) or ():
            if caller.name not in known:
                optional = all(row.optionalhook for row in caller.get_hookimpls() if row.plugin is module)
                if not optional:
                    yield caller.name

    def _collect(self, candidate: Candidate, kind: str) -> list[Descriptor]:
        plugin = self.manager.get_plugin(candidate.key)
        caller = getattr(self.manager.hook, f"cryorepro_{kind}")
        if not any(row.plugin is plugin for row in caller.get_hookimpls()):
            return []
        others = [row for row in self.manager.get_plugins() if row is not plugin]
        rows: list[Descriptor] = []
        with self._call(candidate, caller.name, rows):
            results = self.manager.subset_hook_caller(caller.name, others)()
            if not results:
                raise ContractError(f"hook {caller.name} must yield descriptors, it gave None")
            for result in results:
                rows.extend(check_descriptors(kind, result))
        return rows

    def _check_collision(self, candidate: Candidate, kind: str, row: Descriptor) -> None:
        there = self.entries[kind].get(row.name)
        if there is not None:
            mine = _registered(candidate, kind, row).label
            raise ContractError(f"{mine}: the name is already taken by plugin {there.source}")

    @contextlib.contextmanager
    def _call(self, candidate: Candidate, hook: str, rows: Sequence[Descriptor] = ()) -> Iterator[None]:
        start, error = time.perf_counter(), None
        try:
            yield
        except BaseException as raised:
            error = one_line(raised)
            raise
        finally:
            seconds = time.perf_counter() - start
            names = tuple(row.name for row in rows) if error is None else ()
            call = HookCall(candidate.name, candidate.provenance.distribution, hook, seconds, names, error)
            self.calls.append(call)
            report(call, self.environment)

    def _refuse(self, candidate: Candidate, error: BaseException) -> None:
        sentence = str(error) if isinstance(error, ContractError) else one_line(error)
        trace = "".join(traceback.format_exception(error))
        identity = (candidate.provenance.distribution, candidate.provenance.version)
        self.refusals.append(Refusal(candidate.name, candidate.module, *identity, sentence, trace))

    def _roll_back(self, candidate: Candidate, modules: set[str], path: list[str]) -> None:
        if self.manager.has_plugin(candidate.key):
            self.manager.unregister(name=candidate.key)
        # Only modules of the plugin's own package go: unloading what others may already share does harm.
        top = candidate.module.partition(".")[0]
        for name in set(sys.modules) - modules:
            if name == top or name.startswith(top + "."):
                del sys.modules[name]
        sys.path[:] = path


def _registered(candidate: Candidate, kind: str, row: Descriptor) -> Registered[Descriptor]:
    provenance = candidate.provenance
    return Registered(kind, row, candidate.name, provenance.distribution, provenance.version)
