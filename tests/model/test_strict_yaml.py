"""Benchmark files from strangers: one sentence with file, line and field, and never much memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark
from cryorepro.model.shipped import shipped
from cryorepro.model.strict_yaml import compose, load_record, plain

ORIGINAL = (shipped("specs") / "empiar-10028.yaml").read_text()


def refusal(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "spec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_record(path, Benchmark)
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    return sentence.removeprefix(str(path))


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(ORIGINAL.splitlines(), 1) if text in line)


def test_an_unknown_key_is_named_with_its_line(tmp_path: Path) -> None:
    changed = ORIGINAL.replace("      margin: 1\n", "      margin: 1\n      colour: red\n", 1)
    expected = f":{line_of('margin: 1') + 1}: field 'outcomes.0.tolerance.colour': this key is not known here"
    assert refusal(tmp_path, changed) == expected


def test_an_unknown_key_at_the_top(tmp_path: Path) -> None:
    assert refusal(tmp_path, "colour: red\n" + ORIGINAL) == ":1: field 'colour': this key is not known here"


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('version: "1.0"', "version: one", "version"),
        ("default_tier: twin", "default_tier: quick", "default_tier"),
        ("      particles: data.particles", "      particles: nothing.particles", "data.ROLE"),
        (
            "    metric: pose_error\n    stage: class3d",
            "    metric: pose_error\n    stage: refine",
            "no stage is named",
        ),
        ("    claim: clusterra-2026-resolution", "    claim: another", "not listed under claims"),
    ],
)
def test_values_and_references_are_checked(tmp_path: Path, old: str, new: str, field: str) -> None:
    assert old in ORIGINAL
    assert field in refusal(tmp_path, ORIGINAL.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"a: [1, 2", "not valid YAML"),
        (b"a: 1\na: 2\n", "given twice"),
        (b"a: &x [1]\nb: *x\n", "aliases"),
        (b"1: a\n", "keys must be text"),
        (b"a: !!python/object/apply:os.system [ls]\n", "field"),
        (b"[" * 2000 + b"]" * 2000, "nested deeper"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    assert words in refusal(tmp_path, text)


def test_a_200_mb_bomb_is_refused_in_one_sentence_and_little_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    with bomb.open("wb") as stream:
        stream.write(b"a: &a [x,x,x,x,x,x,x,x,x]\n")
        stream.truncate(200_000_000)
    limit = 600_000_000
    done = subprocess.run(
        [sys.executable, "-m", "cryorepro", "validate", str(bomb)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "200,000,000 bytes is larger" in done.stderr


def test_nested_aliases_do_not_unfold(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert "aliases" in refusal(tmp_path, "\n".join(levels))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8), _VALUES, min_size=1, max_size=4))
def test_plain_values_are_those_of_the_safe_loader(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = tmp_path_factory.mktemp("yaml") / "value.yaml"
    text = yaml.safe_dump(content, allow_unicode=False)
    path.write_text(text, encoding="utf-8")
    assert plain(compose(path), path) == yaml.safe_load(text)
