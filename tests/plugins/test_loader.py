"""Plugins by strangers, well-meaning and hostile, seen from the command line and from the catalogue."""

from __future__ import annotations

import importlib
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.checks import check_api, check_descriptors
from cryorepro.plugins.discovery import candidates
from cryorepro.plugins.errors import ContractError, PluginError
from cryorepro.plugins.implementation import guarded, instantiate, spec_path
from cryorepro.plugins.loader import build_catalogue
from cryorepro.plugins.types import API_VERSION, KINDS, Probe

ProbeSource = Callable[..., str]

# name -> (source, words its refusal must hold)
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
        "@hookimpl\ndef cryorepro_probes():\n    yield Metric('m', 's', 'a:b', unit='px')",
        ["cryorepro_probes must yield Probe", "Metric"],
    ),
    "x-not-descriptors": (
        "@hookimpl\ndef cryorepro_probes():\n    return 7",
        ["must yield descriptors", "int"],
    ),
    "x-none": ("@hookimpl\ndef cryorepro_probes():\n    return None", ["must yield descriptors", "None"]),
    "x-hook-raises": (
        "@hookimpl\ndef cryorepro_probes():\n    yield Probe('half', 's', 'a:b')\n    raise KeyError('later')",
        ["KeyError: 'later'"],
    ),
    "x-twice": (
        "@hookimpl\ndef cryorepro_probes():\n    yield Probe('t', 's', 'a:b')\n    yield Probe('t', 's', 'a:b')",
        ["'t' twice"],
    ),
    "x-endless": (
        "import itertools\n@hookimpl\ndef cryorepro_probes():\n"
        "    for n in itertools.count():\n        yield Probe(f'p{n}', 's', 'a:b')",
        ["more than 1000"],
    ),
    "x-malformed": (
        "@hookimpl\ndef cryorepro_probes():\n    yield Probe('Bad Name', 's', 'a:b')",
        ["lower-case"],
    ),
    "x-dataset": (
        "@hookimpl\ndef cryorepro_datasets():\n    yield Dataset('d', 's', 'a:b', info={'name': 'd'})",
        ["info must be a DatasetInfo"],
    ),
    "x-requires": (
        "@hookimpl\ndef cryorepro_probes():\n    yield Probe('r', 's', 'a:b', requires=Requirements(modules='torch'))",
        ["requires.modules"],
    ),
    "x-unknown-hook": ("@hookimpl\ndef cryorepro_ponies():\n    yield 1", ["cryorepro_ponies"]),
    "x-arguments": ("@hookimpl\ndef cryorepro_probes(session):\n    yield 1", ["PluginValidationError"]),
    "x-evil-error": (
        "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
        ["E"],
    ),
}


@pytest.fixture
def catalogue_of(site: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Catalogue]:
    """The catalogue of a site's third-party plugins, in this process."""

    def build(**environment: str) -> Catalogue:
        monkeypatch.syspath_prepend(str(site.path))
        names = {path.stem for path in site.path.glob("*.py")}
        return build_catalogue([row for row in candidates() if row.module in names], environment)

    yield build
    for path in site.path.glob("*.py"):
        sys.modules.pop(path.stem, None)


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
    site.plugin("aaa", "@hookimpl\ndef cryorepro_probes():\n    yield Probe('cpu', 'mine', 'aaa:P')")
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


def test_the_same_name_under_two_kinds_is_no_collision(
    site: Any, catalogue_of: Callable[..., Catalogue]
) -> None:
    site.plugin(
        "both",
        "@hookimpl\ndef cryorepro_probes():\n    yield Probe('power', 's', 'both:P')\n"
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


def test_doctor_tells_missing_from_broken_and_survives_every_ending(site: Any) -> None:
    rows = {
        "fine": "Fine", "hangs": "Hangs", "dies": "Dies", "exits": "Exits", "prints": "Prints",
    }  # fmt: skip
    hooks = "".join(
        f"    yield Probe('{name}', 's', 'deep_code:{attribute}')\n" for name, attribute in rows.items()
    )
    site.plugin(
        "deep",
        "@hookimpl\ndef cryorepro_probes():\n" + hooks + "    yield Probe('gone', 's', 'deep_gone.part:P')\n"
        "    yield Probe('needy', 's', 'deep_code:Fine', requires=Requirements(\n"
        "        executables=('no-such-program',), modules=('no_such_module.part',), licence='CryoSPARC', network=True))\n",
    )
    (site.path / "deep_code.py").write_text(
        "import os, time\n"
        "class Fine:\n    def measure(self, roles): return {}\n"
        "class Hangs(Fine):\n    def __init__(self): time.sleep(600)\n"
        "class Dies(Fine):\n    def __init__(self): os.kill(os.getpid(), 9)\n"
        "class Exits(Fine):\n    def __init__(self): os._exit(7)\n"
        "class Prints(Fine):\n    def __init__(self): print('[1, 2, 3]', flush=True); os.write(1, b'noise\\n')\n"
    )
    only = {"CRYOREPRO_DISABLE_PLUGINS": ",".join(site.first_party)}
    shallow = site.run("plugins", "doctor", "--json", **only)
    found = {row["name"]: row for row in json.loads(shallow.stdout)["diagnoses"]}
    assert found["needy"]["status"] == "missing-requirement"
    assert found["needy"]["reasons"] == [
        "no executable 'no-such-program' on PATH",
        "no Python module 'no_such_module.part'",
    ]
    assert found["needy"]["notes"] == ["needs the network", "licence: CryoSPARC"]
    assert found["gone"]["status"] == "broken"
    assert {found[name]["status"] for name in rows} == {"ok"}, "without --deep nothing is imported"
    assert shallow.returncode == 1, "a broken contribution is the doctor's exit code 1"
    deep = site.run("plugins", "doctor", "--deep", "--timeout", "2", "--json", **only)
    found = {row["name"]: row for row in json.loads(deep.stdout)["diagnoses"]}
    assert found["fine"]["status"] == found["prints"]["status"] == "ok"
    assert "took longer than 2 s" in found["hangs"]["reasons"][0]
    assert "signal SIGKILL" in found["dies"]["reasons"][0]
    assert "exit status 7" in found["exits"]["reasons"][0]


def test_trace_tells_each_call_with_its_time_and_what_it_gave(site: Any) -> None:
    site.plugin(
        "slow",
        "import time\n@hookimpl\ndef cryorepro_probes():\n    time.sleep(0.05)\n    yield Probe('late', 's', 'slow:P')",
    )
    site.plugin("x-hook", "@hookimpl\ndef cryorepro_probes():\n    yield 1/0")
    calls = {(row["plugin"], row["hook"]): row for row in site.json("plugins", "trace")}
    late = calls["slow", "cryorepro_probes"]
    assert late["descriptors"] == ["late"]
    assert late["seconds"] >= 0.05, "the time to read the generator counts"
    assert "ZeroDivisionError" in calls["x-hook", "cryorepro_probes"]["error"]
    assert calls["probes", "import"]["error"] is None
    done = site.run("plugins", "list", "--json", CRYOREPRO_TRACE_PLUGINS="1")
    json.loads(done.stdout)
    assert "cryorepro trace: slow (slow)  cryorepro_probes" in done.stderr


def test_provenance_comes_from_what_is_installed(site: Any, probe_source: ProbeSource) -> None:
    info = site.plugin("a-good", probe_source("good-a"), version="2.5")
    (info / "RECORD").write_text("a_good.py,sha256=abc,10\n")
    (info / "direct_url.json").write_text(
        json.dumps({"url": "file:///home/someone/private", "dir_info": {"editable": True}})
    )
    (row,) = (row for row in site.json("plugins", "list")["plugins"] if row["name"] == "a-good")
    assert (row["distribution"], row["version"], row["editable"], row["api"]) == ("a-good", "2.5", True, "1")
    # sha256sum of that RECORD, from coreutils
    expected = subprocess.run(["sha256sum", info / "RECORD"], capture_output=True, text=True, check=True)
    assert row["record_sha256"] == expected.stdout.split()[0]
    assert "someone" not in json.dumps(row)


@pytest.mark.parametrize(
    "text", ["[cryorepro]\nx = a-b.c:d e\n", "[cryorepro]\nx = pkg.mod:attr\n", "[cryorepro]\nno equals sign\n", "\xff[cryorepro]\n"]
)  # fmt: skip
def test_damaged_entry_points_are_a_refusal_at_most(site: Any, text: str) -> None:
    info = site.metadata("damaged", "1", {})
    (info / "entry_points.txt").write_bytes(text.encode("latin-1"))
    listing = site.json("plugins", "list")
    assert "probes" in {row["name"] for row in listing["plugins"]}
    assert "damaged" not in {row["distribution"] for row in listing["plugins"]}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plugins", "list"], ["plugins", "trace"], ["plugins", "doctor"]]
)
def test_listing_imports_no_numerics_and_is_quick(site: Any, arguments: list[str]) -> None:
    program = (
        "import sys\nsys.argv = ['cryorepro'] + sys.argv[1:]\n"
        "from cryorepro.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib', 'gemmi'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy), file=sys.stderr)\n"
    )
    command = [sys.executable, "-P", "-c", program, *arguments]
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, env=site.environment(), cwd=site.path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "HEAVY []" in done.stderr, done.stderr
    # CPU seconds, so that other work on the machine does not decide.
    assert min(times) < 0.5, times


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object())
    | st.just(Probe) | st.builds(Probe, st.just("p"), st.just("s"), st.just("a:b"), requires=st.none()),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)  # fmt: skip


@given(st.sampled_from(sorted(KINDS)), ANYTHING)
def test_whatever_a_hook_gives_is_accepted_or_a_contract_error(kind: str, given_back: object) -> None:
    try:
        accepted = check_descriptors(kind, given_back)
    except ContractError as error:
        assert str(error)
    else:
        assert accepted == []


@given(ANYTHING)
def test_whatever_a_module_declares_as_api_is_accepted_or_a_contract_error(declared: object) -> None:
    module = type("Module", (), {"CRYOREPRO_API": declared})
    try:
        assert check_api(module).split(".")[0] == API_VERSION.split(".")[0]
    except ContractError as error:
        assert str(error)
