"""Sums numbers in steps, leaving its state after each; continues from it when asked to resume."""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main() -> int:
    request = json.loads(sys.argv[1])
    parameters, out = request["parameters"], Path(request["output_dir"])
    misbehaviour = parameters["misbehave"]
    numbers = [int(line) for line in Path(request["inputs"]["numbers"]).read_text().split()]
    state = {"step": 0, "total": 0}
    if request["resume"] and (out / "state.json").exists():
        state = json.loads((out / "state.json").read_text())
    steps = parameters["steps"]
    while state["step"] < steps:
        state["total"] += sum(numbers[state["step"] :: steps])
        state["step"] += 1
        _replace(out / "state.json", state)
        time.sleep(parameters["seconds_per_step"])
    if misbehaviour and misbehaviour != "odd":
        return _misbehave(misbehaviour, out)
    if misbehaviour == "odd" and request["seed"] % 2:  # some members of a set fail
        print("an odd seed", file=sys.stderr)
        return 1
    _replace(out / "result.json", _result(state["total"], request))
    return 0


def _result(total: int, request: dict[str, Any]) -> dict[str, Any]:
    parameters, seed = request["parameters"], request["seed"]
    value = total + parameters["bias"] + random.Random(seed).gauss(0.0, 1.0) * parameters["noise"]
    result = {"total": total + int(parameters["wrong"]), "value": value, "steps": parameters["steps"], "seed": seed}
    return result | ({"stamp": time.time()} if parameters["stamp"] else {})


def _replace(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def _misbehave(kind: str, out: Path) -> int:
    word, _, argument = kind.partition(":")
    earlier = Path(argument)
    if word == "exit":
        print("numbers.txt: field 'x' is not a number", file=sys.stderr)
        return int(argument)
    if word == "signal":
        os.kill(os.getpid(), getattr(signal, argument))
    elif word == "link":
        (out / "result.json").symlink_to(earlier)
    elif word == "hardlink":
        os.link(earlier, out / "result.json")
    elif word == "copy":
        shutil.copy2(earlier, out / "result.json")
    elif word == "retouched":
        shutil.copy(earlier, out / "result.json")
    elif word == "peek":
        return 0 if _reads_truth(Path(argument)) else 3
    return 0


def _reads_truth(home: Path) -> bool:
    found = list((home / "truth").rglob("total.txt"))
    try:
        return bool(found) and bool(found[0].read_text())
    except PermissionError:
        return False


if __name__ == "__main__":
    sys.exit(main())
