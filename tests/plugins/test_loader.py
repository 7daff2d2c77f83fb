"""Plugins by strangers, well-meaning and hostile, seen from the command line and from the catalogue."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

from cryorepro.em.errors import InputError
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.types import API_VERSION, Probe

ProbeSource = Callable[..., str]

# name -> (source, words its refusal must hold)
PROBES = "@hookimpl\ndef cryorepro_probes():\n"
HOSTILE = {
    "x-raises": (
        "raise RuntimeError('the licence\\nserver is down')",
        ["RuntimeError: the licence server is down"],
    ),
    "x-exits": ("import sys; sys.exit(3)", ["SystemExit: 3"]),
    "x-syntax": ("def broken(:", ["SyntaxError"]),
    "x-needs": ("import no_such_module_anywhere", ["no_such_module_anywhere"]),
    "x-other-api": ("CRYOREPRO_API = '2'", ["API 2", f"API {API_VERSION}"]),
    "x-later-minor": ("CRYOREPRO_API = '1.99'", ["1.99", API_VERSION]),
    "x-no-api": ("del CRYOREPRO_API", ["CRYOREPRO_API"]),
    "x-odd-api": ("CRYOREPRO_API = 1", ["must be a string"]),
    "x-wrong-type": (
        PROBES + "    yield Metric('m', 's', 'a:b', unit='px')",
        ["cryorepro_probes must yield Probe", "Metric"],
    ),
    "x-not-descriptors": (
        PROBES + "    return 7",
        ["must yield descriptors", "int"],
    ),
    "x-none": (PROBES + "    return None", ["must yield descriptors", "None"]),
    "x-hook-raises": (
        PROBES + "    yield Probe('half', 's', 'a:b')\n    raise KeyError('later')",
        ["KeyError: 'later'"],
    ),
    "x-twice": (
        PROBES + "    yield Probe('t', 's', 'a:b')\n    yield Probe('t', 's', 'a:b')",
        ["'t' twice"],
    ),
    "x-endless": (
        "import itertools\n" + PROBES + "    for n in itertools.count():\n        yield Probe(f'p{n}', 's', 'a:b')",
        ["more than 1000"],
    ),
    "x-malformed": (
        PROBES + "    yield Probe('Bad Name', 's', 'a:b')",
        ["lower-case"],
    ),
    "x-dataset": (
        "@hookimpl\ndef cryorepro_datasets():\n    yield Dataset('d', 's', 'a:b', info={'name': 'd'})",
        ["info must be a DatasetInfo"],
    ),
    "x-requires": (
        PROBES + "    yield Probe('r', 's', 'a:b', requires=Requirements(modules='torch'))",
        ["requires.modules"],
    ),
    "x-unknown-hook": ("@hookimpl\ndef cryorepro_ponies():\n    yield 1", ["cryorepro_ponies"]),
    "x-arguments": ("@hookimpl\ndef cryorepro_probes(session):\n    yield 1", ["PluginValidationError"]),
    "x-evil-error": (
        "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
        ["E"],
    ),
}


def test_hostile_plugins_are_refused_by_name_and_harm_nothing(site: Any, probe_source: ProbeSource) -> None:
    for name, (source, _) in HOSTILE.items():
        site.plugin(name, source, version="6.6")
    site.plugin("a-good", probe_source("good-a"))
    site.plugin("z-good", probe_source("good-z"))
    listing = site.json("plugins", "list")
    refused = {row["plugin"]: row for row in listing["refused"] if row["plugin"] not in site.first_party}
    assert set(refused) == set(HOSTILE)
    for name, (_, words) in HOSTILE.items():
        assert refused[name]["distribution"] == name
        assert refused[name]["version"] == "6.6"
        assert all(word in refused[name]["error"] for word in words), refused[name]
        assert "\n" not in refused[name]["error"]
    names = {row["name"] for row in listing["contributions"]}
    assert {"good-a", "good-z"} <= names
    assert not names & {"half", "t", "p0", "d", "r"}, "a refused plugin left something registered"
    accepted = {row["name"] for row in listing["plugins"]}
    assert {"a-good", "z-good", "probes"} <= accepted


def test_refusals_are_shown_to_people_with_exit_code_0(site: Any) -> None:
    site.plugin("x-raises", "raise RuntimeError('[bold]odd markup[/nothing]')")
    done = site.run("plugins", "list", "--tracebacks", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "refused x-raises (x-raises 1.0): RuntimeError: [bold]odd markup[/nothing]" in done.stdout
    assert "x_raises.py" in done.stdout, "the traceback names the file"


def test_a_plugin_that_prints_does_not_spoil_json(site: Any, probe_source: ProbeSource) -> None:
    site.plugin("noisy", "print('hello from a plugin')\n" + probe_source("quiet"))
    assert "quiet" in {row["name"] for row in site.json("plugins", "list")["contributions"]}


def test_a_third_party_cannot_take_a_first_party_name(site: Any) -> None:
    # 'aaa' sorts before cryorepro: the order of names must not decide.
    site.plugin("aaa", PROBES + "    yield Probe('cpu', 'mine', 'aaa:P')")
    listing = site.json("plugins", "list")
    (refusal,) = (row for row in listing["refused"] if row["plugin"] == "aaa")
    assert "probe 'cpu'" in refusal["error"]
    assert "aaa 1.0" in refusal["error"]
    assert "(cryorepro 0.1.0)" in refusal["error"]
    (cpu,) = (row for row in listing["contributions"] if (row["kind"], row["name"]) == ("probes", "cpu"))
    assert cpu["distribution"] == "cryorepro"


def test_two_third_parties_collide_and_the_error_names_both(
    site: Any, probe_source: ProbeSource, catalogue_of: Callable[..., Catalogue]
) -> None:
    site.plugin("first-lab", probe_source("wattmeter"), version="1.2")
    second = "@hookimpl\ndef cryorepro_metrics():\n    yield Metric('other', 's', 'a:b', unit='px')\n"
    site.plugin("second-lab", second + probe_source("wattmeter"), version="3.4")
    catalogue = catalogue_of()
    assert catalogue.get("probes", "wattmeter").distribution == "first-lab"
    (refusal,) = catalogue.refusals
    assert "first-lab 1.2" in refusal.error
    assert "second-lab 3.4" in refusal.error
    assert catalogue.all("metrics") == [], "the later plugin is refused whole"


def test_the_same_name_under_two_kinds_is_no_collision(site: Any, catalogue_of: Callable[..., Catalogue]) -> None:
    site.plugin(
        "both",
        PROBES + "    yield Probe('power', 's', 'both:P')\n"
        "@hookimpl\ndef cryorepro_metrics():\n    yield Metric('power', 's', 'both:M', unit='W')\n",
    )
    catalogue = catalogue_of()
    assert not catalogue.refusals
    assert catalogue.get("metrics", "power").descriptor.unit == "W"
    assert catalogue.get(Probe, "power").kind == "probes"


def test_third_parties_can_be_switched_off(site: Any, probe_source: ProbeSource) -> None:
    site.plugin("x-exits", "raise SystemExit")
    site.plugin("a-good", probe_source("good-a"))
    listing = site.json("plugins", "list", CRYOREPRO_NO_PLUGINS="1")
    assert {row["distribution"] for row in listing["plugins"] + listing["refused"]} == {"cryorepro"}
    assert listing["disabled"] == ["a-good:a-good", "x-exits:x-exits"]


@pytest.mark.parametrize("word", ["x-exits", "x-exits:x-exits", "probes"])
def test_single_plugins_can_be_switched_off(site: Any, word: str) -> None:
    site.plugin("x-exits", "raise SystemExit")
    listing = site.json("plugins", "list", CRYOREPRO_DISABLE_PLUGINS=f"{word}, tpyo")
    assert [row.rpartition(":")[2] for row in listing["disabled"]] == [word.rpartition(":")[2]]
    assert any("tpyo" in note for note in listing["notes"]), "a name that matches nothing is said"


def test_an_unknown_name_is_one_sentence_with_near_names(
    site: Any, probe_source: ProbeSource, catalogue_of: Callable[..., Catalogue]
) -> None:
    site.plugin("a-good", probe_source("wattmeter"))
    site.plugin("x-raises", "1/0")
    catalogue = catalogue_of()
    with pytest.raises(InputError, match=r"no probe is named 'watmeter'; did you mean wattmeter\?.*x-raises"):
        catalogue.get("probes", "watmeter")
    with pytest.raises(InputError, match="no plugin kind 'pets'"):
        catalogue.all("pets")


def test_a_refused_plugin_can_be_repaired_in_the_same_process(
    site: Any, probe_source: ProbeSource, catalogue_of: Callable[..., Catalogue]
) -> None:
    site.plugin("mends", "raise RuntimeError")
    before = set(sys.modules)
    assert catalogue_of().refusals
    assert "mends" not in set(sys.modules) - before
    shutil.rmtree(site.path / "mends-1.0.dist-info")
    site.plugin("mends", probe_source("mended"), version="1.1")
    importlib.invalidate_caches()
    assert not catalogue_of().refusals
