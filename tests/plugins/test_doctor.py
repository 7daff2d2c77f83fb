"""``cryorepro plugins doctor``: missing, broken, hanging and dying implementations."""

from __future__ import annotations

import json
from typing import Any


def test_doctor_tells_missing_from_broken_and_survives_every_ending(site: Any) -> None:
    rows = {name: name.title() for name in ("fine", "hangs", "dies", "exits", "prints")}
    hooks = "".join(f"    yield Probe('{name}', 's', 'deep_code:{attribute}')\n" for name, attribute in rows.items())
    site.plugin(
        "deep",
        "@hookimpl\ndef cryorepro_probes():\n" + hooks + "    yield Probe('gone', 's', 'deep_gone.part:P')\n"
        "    yield Probe('needy', 's', 'deep_code:Fine', requires=Requirements(\n"
        "        executables=('no-such-program',), modules=('no_such_module.part',),\n"
        "        licence='CryoSPARC', network=True))\n",
    )
    (site.path / "deep_code.py").write_text(
        "import os, time\n"
        "class Fine:\n    def measure(self, roles): return {}\n"
        "class Hangs(Fine):\n    def __init__(self): time.sleep(600)\n"
        "class Dies(Fine):\n    def __init__(self): os.kill(os.getpid(), 9)\n"
        "class Exits(Fine):\n    def __init__(self): os._exit(7)\n"
        "class Prints(Fine):\n    def __init__(self): print('[1, 2, 3]', flush=True); os.write(1, b'\\n')\n"
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
