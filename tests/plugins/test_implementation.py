"""Implementations that are not what their descriptor says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cryorepro.em.errors import InputError
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.errors import PluginError
from cryorepro.plugins.implementation import guarded, instantiate, spec_path
from cryorepro.plugins.types import Probe

LYING = {
    "no-module": ("probe_nowhere:P", "importing probe_nowhere"),
    "no-attribute": ("lies:Absent", "has no attribute 'Absent'"),
    "no-method": ("lies:NoMethod", "has no method 'measure'"),
    "not-callable": ("lies:NotCallable", "has no method 'measure'"),
    "no-argument": ("lies:NoArgument", r"does not take \(roles\)"),
    "needs-argument": ("lies:NeedsArgument", "being made: TypeError"),
    "exits": ("lies:Exits", "being made: SystemExit"),
    "is-a-number": ("lies:NUMBER", "has no method 'measure'"),
}
LIES = """
class NoMethod: pass
class NotCallable: measure = 3
class NoArgument:
    def measure(self): pass
class NeedsArgument:
    def __init__(self, more): pass
    def measure(self, roles): pass
class Exits:
    def __init__(self): raise SystemExit(1)
NUMBER = 3
class Fine:
    def measure(self, roles): return {}
READY = Fine()
def nowhere(): return "/nonexistent/spec.yaml"
"""


@pytest.fixture
def lies(site: Any, catalogue_of: Callable[..., Catalogue]) -> Catalogue:
    rows = "".join(f"    yield Probe('{name}', 's', '{path}')\n" for name, (path, _) in LYING.items())
    hooks = f"@hookimpl\ndef cryorepro_probes():\n{rows}    yield Probe('ready', 's', 'lies:READY')\n"
    specs = "@hookimpl\ndef cryorepro_specs():\n    yield Spec('nowhere', 's', 'lies:nowhere')\n"
    site.plugin("lies", LIES + hooks + specs)
    return catalogue_of()


@pytest.mark.parametrize("name", LYING)
def test_an_implementation_that_lies_is_a_plugin_error(lies: Catalogue, name: str) -> None:
    with pytest.raises(PluginError, match=rf"probe '{name}' of plugin 'lies' \(lies 1.0\).*{LYING[name][1]}"):
        instantiate(lies.get(Probe, name))


def test_a_ready_object_serves_as_implementation(lies: Catalogue) -> None:
    assert instantiate(lies.get(Probe, "ready")).measure({}) == {}


def test_a_spec_without_its_file_is_a_plugin_error(lies: Catalogue) -> None:
    with pytest.raises(PluginError, match="spec.yaml does not exist"):
        spec_path(lies.get("specs", "nowhere"))


def test_guarded_lets_through_what_plugins_may_raise(lies: Catalogue) -> None:
    entry = lies.get(Probe, "ready")
    with pytest.raises(InputError, match="^box_px is odd$") as caught, guarded(entry, "planning"):
        raise InputError("box_px is odd")
    assert not isinstance(caught.value, PluginError)
    with pytest.raises(KeyboardInterrupt), guarded(entry, "planning"):
        raise KeyboardInterrupt
    with (
        pytest.raises(PluginError, match=r"failed while planning: ZeroDivisionError"),
        guarded(entry, "planning"),
    ):
        _ = 1 / 0
