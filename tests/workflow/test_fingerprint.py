"""The fingerprint: every probe answers or is recorded as failed, and nothing personal is told."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryorepro_probes.plugin import cryorepro_probes
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.plugins.catalogue import Catalogue, Registered
from cryorepro.plugins.plain_json import plain_json
from cryorepro.plugins.types import Descriptor, Probe
from cryorepro.workflow.fingerprint import take_fingerprint
from cryorepro.workflow.redact import Redactor

ROOT = Path(__file__).resolve().parents[2]


def catalogue(probes: list[Probe], plugin: str = "probes") -> Catalogue:
    rows: dict[str, Registered[Descriptor]] = {
        probe.name: Registered("probes", probe, plugin, "some-dist", "1.0") for probe in probes
    }
    return Catalogue({"probes": rows})


HOSTILE = {
    "a-fine": "return {'value': 1, 'nested': {'list': [1, 2.5, None, True, 'ä'], 'tuple': (1,)}}",
    "b-raises": "raise OSError(2, 'No such file or directory', '/home/alice/secret/file')",
    "c-hangs": "import time; time.sleep(600)",
    "d-dies": "import os; os.kill(os.getpid(), 11)",
    "e-exits": "import sys; sys.exit(4)",
    "f-nan": "return {'clocks': [{'mhz': float('nan')}]}",
    "g-object": "return {'path': roles['input']}",
    "h-keys": "return {1: 2}",
    "i-list": "return [1, 2]",
    "j-none": "return None",
    "k-large": "return {'text': 'x' * 1_100_000}",
    "l-loop": "a = []; a.append(a); return {'a': a}",
    "m-prints": "print('{}'); import os; os.write(1, b'[1, null, 0]\\n'); return {'fine': True}",
    "n-surrogate": "return {'name': '\\udcff'}",
    "o-changes": "import os; os.environ.clear(); os.chdir('/'); return {'fine': True}",
    "z-last": "return {'fine': True}",
}


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    names = {name: name.replace("-", "_") for name in HOSTILE}
    source = "".join(
        f"class {names[name]}:\n    def measure(self, roles):\n        {body}\n" for name, body in HOSTILE.items()
    )
    (tmp_path / "hostile_probes.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [Probe(name, "hostile", f"hostile_probes:{attribute}") for name, attribute in names.items()]
    return catalogue([*rows, Probe("p-missing", "not there", "hostile_nowhere:P")])


def test_a_probe_that_fails_is_a_recorded_failure_and_the_rest_answer(hostile: Catalogue, tmp_path: Path) -> None:
    start = time.perf_counter()
    results = {row.name: row for row in take_fingerprint(hostile, {"input": tmp_path}, timeout_s=1.5)}
    assert time.perf_counter() - start < 30
    assert list(results) == sorted([*HOSTILE, "p-missing"]), "no missing row"
    fine = {name for name, row in results.items() if row.status == "ok"}
    assert fine == {"a-fine", "m-prints", "o-changes", "z-last"}
    assert results["a-fine"].data["nested"] == {"list": [1, 2.5, None, True, "ä"], "tuple": [1]}
    assert results["a-fine"].plugin == "probes (some-dist 1.0)"
    wanted = {
        "b-raises": "FileNotFoundError", "c-hangs": "took longer than 1.5 s", "d-dies": "signal SIGSEGV",
        "e-exits": "exit status 4", "f-nan": r"data.clocks\[0\].mhz is nan", "g-object": "data.path is",
        "h-keys": "key 1, which is not a string", "i-list": "gave a list", "j-none": "gave a NoneType",
        "k-large": "bytes, more than", "l-loop": "nested deeper", "n-surrogate": "data.name is",
        "p-missing": "importing hostile_nowhere",
    }  # fmt: skip
    for name, words in wanted.items():
        row = results[name]
        assert row.status == "failed"
        assert re.search(words, row.error or ""), row
        assert row.data == {}
    assert results["c-hangs"].seconds >= 1.5
    assert "alice" not in (results["b-raises"].error or "")
    assert str(tmp_path) not in json.dumps([row.model_dump() for row in results.values()])


def test_nothing_a_probe_started_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving.py").write_text(
        "import subprocess, time\nclass P:\n    def measure(self, roles):\n"
        "        child = subprocess.Popen(['sleep', '600'])\n"
        "        (roles['output'] / 'pid').write_text(str(child.pid))\n        time.sleep(600)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (row,) = take_fingerprint(catalogue([Probe("p", "s", "leaving:P")]), {"output": tmp_path}, timeout_s=1)
    assert row.status == "failed"
    status = Path(f"/proc/{(tmp_path / 'pid').read_text()}/status")
    deadline = time.time() + 10
    while status.exists() and "\nState:\tZ" not in status.read_text() and time.time() < deadline:
        time.sleep(0.05)
    assert not status.exists() or "\nState:\tZ" in status.read_text()


def test_the_first_party_fingerprint_is_complete_quick_and_imports_no_torch(tmp_path: Path) -> None:
    roles = {"input": tmp_path, "scratch": tmp_path / "later", "output": tmp_path}
    fastest = min(_timed(roles) for _ in range(2))
    assert fastest < 2.0
    program = (
        "import sys; from pathlib import Path; import cryorepro.workflow.fingerprint\n"
        "from cryorepro.plugins.implementation import load_attribute\nimport cryorepro_probes.plugin as p\n"
        "import importlib\n"
        "for probe in p.cryorepro_probes():\n"
        "    module, _, name = probe.implementation.partition(':')\n"
        "    getattr(importlib.import_module(module), name)().measure({'input': Path('.')})\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=_environment({}))
    assert done.stdout.strip() == "[]", done.stderr


def _timed(roles: dict[str, Path]) -> float:
    start = time.perf_counter()
    results = take_fingerprint(catalogue(list(cryorepro_probes())), roles)
    seconds = time.perf_counter() - start
    assert [(row.status, row.error) for row in results] == [("ok", None)] * len(list(cryorepro_probes()))
    assert all(row.seconds > 0 and row.data for row in results)
    return seconds


def _environment(settings: dict[str, str]) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])} | settings


def test_the_fingerprint_holds_no_user_host_or_path(tmp_path: Path) -> None:
    home = tmp_path / "home" / "zzsecretuser"
    run = home / "zzsecretproject"
    run.mkdir(parents=True)
    program = (
        "import json, socket; from pathlib import Path\n"
        "socket.gethostname = lambda: 'zzsecrethost.example.org'\n"
        "from cryorepro.plugins.catalogue import Catalogue, Registered\n"
        "from cryorepro.workflow.fingerprint import take_fingerprint\n"
        "from cryorepro_probes.plugin import cryorepro_probes\n"
        "rows = {p.name: Registered('probes', p, 'probes', 'cryorepro', '0') for p in cryorepro_probes()}\n"
        "roles = {name: Path.cwd() / name for name in ('input', 'scratch', 'output')}\n"
        "results = take_fingerprint(Catalogue({'probes': rows}), roles)\n"
        "print(json.dumps([row.model_dump(mode='json') for row in results]))"
    )
    personal = {
        "HOME": str(home), "USER": "zzsecretuser", "LOGNAME": "zzsecretuser", "HOSTNAME": "zzsecrethost",
        "SLURM_JOB_ID": "7", "SLURM_JOB_USER": "zzsecretuser", "SLURM_SUBMIT_DIR": str(run),
        "SLURM_JOB_ACCOUNT": "zzsecretlab", "OMP_PLACES": "zzsecret/place", "APPTAINER_CONTAINER": str(home / "x.sif"),
        "TMPDIR": str(home),
    }  # fmt: skip
    command, environment = [sys.executable, "-c", program], _environment(personal)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=run, check=True)
    results: list[dict[str, Any]] = json.loads(done.stdout)
    assert [row["status"] for row in results] == ["ok"] * len(list(cryorepro_probes()))
    assert "zzsecret" not in done.stdout
    for words in (socket.gethostname(), getpass.getuser()):
        if len(words) > 4:
            assert words not in done.stdout
    texts = [text for row in results for text in _texts(row["data"])]
    assert len(texts) > 100
    paths = [text for text in texts if re.search(r"(?<![\w<>.])/\w+/\w", text)]
    assert paths == []


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, part in value.items() for text in (key, *_texts(part))]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def test_redaction_of_what_third_party_probes_tell() -> None:
    paths = {"/home/alice": "<home>", "/home/alice/run1": "<output>", "/": "<cwd>"}
    redactor = Redactor.of(paths, {"alice": "<user>", "gpu": "<host>", "n1": "<host>"})
    assert redactor.text("/home/alice/run1/x.mrc of alice, /home/alice/run12") == (
        "<output>/x.mrc of <user>, <home>/run12"
    )
    assert redactor.text("malice, alice-2, alice.") == "malice, alice-2, <user>."
    assert redactor.text("gpu n1 / 2") == "gpu n1 / 2", "common words and short names stay"
    assert redactor.sentence("cannot open '/opt/secret place/x': 3/4 s") == "cannot open '<path>': 3/4 s"
    assert redactor.sentence("no /opt/x/y.so: and/or") == "no <path>: and/or"
    assert redactor.value({"a": ["/home/alice", 1, {"/home/alice/k": None}], "alice": 2}) == {
        "a": ["<home>", 1, {"<home>/k": None}], "alice": 2,
    }  # fmt: skip


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXT, part, max_size=3),
    max_leaves=10,
)
ODD = st.recursive(
    st.floats() | st.binary() | st.text() | st.just(object()) | st.sets(st.integers()),
    lambda part: st.lists(part) | st.dictionaries(st.integers() | st.text(), part),
)


@given(JSON)
def test_plain_json_is_kept_as_it_is(value: Any) -> None:
    assert plain_json(value) == json.loads(json.dumps(value)) == value


@given(ODD)
def test_anything_else_is_refused_with_its_place(value: Any) -> None:
    try:
        accepted = plain_json(value)
    except InputError as error:
        assert str(error).startswith("data")
    else:
        assert json.loads(json.dumps(accepted, allow_nan=False)) == accepted
        json.dumps(accepted, ensure_ascii=False).encode()
