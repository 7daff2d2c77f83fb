"""STAR tables: every dialect at hand, exact round trips, and defects named by file and line."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import StarBlock, make_block, parse_star, read_star, write_star
from tests.em.real_data import real_data

REAL = [
    "small_stacks/aspire_sample_relion_data.star",
    "small_stacks/cryodrgn_FinalRefinement-OriginalParticles-PfCRT.star",
    "small_stacks/cryodrgn_empiar_10076_7.star",
    "small_stacks/cryodrgn_relion31.6opticsgroups.star",
    "small_stacks/cryodrgn_relion31.star",
    "small_stacks/cryodrgn_relion5.star",
    "small_stacks/cryojax_trpv1_small_stack.star",
    "t20s_EMPIAR-10025/particles.star",
    "bgal_EMPIAR-10017/relion_ap_s_c2d.star",
    "apoferritin_EMPIAR-10146/particles_64px_3.0A.star",
]


@pytest.mark.parametrize("name", REAL)
def test_rows_and_columns_are_those_counted_by_hand(name: str) -> None:
    path = real_data(*name.split("/"))
    lines = path.read_text().splitlines()
    images = [line for line in lines if re.search(r"\d+@\S+\.mrcs?\b", line)]
    labels = {line.split()[0][1:] for line in lines if line.startswith("_")}
    blocks = read_star(path)
    (table,) = [block for block in blocks.values() if "rlnImageName" in block.columns]
    assert table.row_count == len(images) > 0
    assert set().union(*(block.columns for block in blocks.values())) == labels
    column = list(table.columns).index("rlnImageName")
    assert table.text("rlnImageName") == [line.split()[column] for line in images]


@pytest.mark.parametrize(
    "name", ["t20s_EMPIAR-10025/ctf_params.star", "micrograph_bad_ice/Ucsf_stack_1142_DW_autopick.star"]
)
def test_tables_without_images(name: str) -> None:
    path = real_data(*name.split("/"))
    rows = [line for line in path.read_text().splitlines() if re.match(r"\s*\d", line)]
    (block,) = read_star(path).values()
    assert block.row_count == len(rows) > 0


def test_relion_reads_what_is_written(tmp_path: Path) -> None:
    values = [0.1, -1234.5678, 1e-3, 3.0]
    names = ["000001@a.mrcs", "b.mrcs", "x-y_z", "7"]
    write_star(tmp_path / "t.star", [make_block("some", {"rlnDefocusU": values, "rlnImageName": names})])
    command = ["relion_star_printtable", str(tmp_path / "t.star"), "data_some", "_rlnDefocusU", "_rlnImageName"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    np.testing.assert_allclose([float(v) for v in printed[::2]], values, rtol=1e-6)
    assert printed[1::2] == names


def test_pairs_and_loops_and_empty_names(tmp_path: Path) -> None:
    text = "data_\n_rlnSeed   42\n_rlnName 'two words' \n\ndata_t\nloop_\n_rlnA\n_rlnB\n1 \"x y\" \n2 z # remark\n\n"
    blocks = parse_star(text, "t.star")
    assert blocks[""].value("rlnSeed") == "42" and not blocks[""].is_loop
    assert blocks[""].value("rlnName") == "two words"
    assert blocks["t"].columns == {"rlnA": ["1", "2"], "rlnB": ["x y", "z"]}
    assert blocks["t"].integers("rlnA").tolist() == [1, 2]


def test_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "crlf.star"
    path.write_bytes(b"data_p\r\n\r\nloop_\r\n_rlnA #1\r\n_rlnB #2\r\n1 x\r\n2 y\r\n")
    assert read_star(path)["p"].columns == {"rlnA": ["1", "2"], "rlnB": ["x", "y"]}


HEAD = "data_p\n\nloop_\n_rlnA #1\n_rlnB #2\n"
DEFECTS = {
    "stray token": (HEAD + "1 2\n9\n3 4\n", "a stray token '9' stands alone on line 7"),
    "missing value, made up by a stray one": (HEAD + "1 2\n3\n4 5 6\n", "line 7"),
    "too many values": (HEAD + "1 2\n3 4 5\n", "line 7 has 3 values"),
    "row after a blank line": (HEAD + "1 2\n\n3 4\n", "line 8"),
    "value outside any table": ("data_p\n5 6\n", "line 2"),
    "pair without value": ("data_p\n_rlnA\n", "line 2"),
    "column twice": ("data_p\nloop_\n_rlnA\n_rlnA\n1 2\n", "column twice|duplicate"),
    "block twice": ("data_p\n_rlnA 1\n\ndata_p\n_rlnA 2\n", "duplicate|twice"),
    "pairs and loop": ("data_p\n_rlnA 1\nloop_\n_rlnB\n2\n", "more than one table"),
    "nothing": ("", "no data_ block"),
    "not STAR": ("hello world\n", "line 1"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_named(name: str, tmp_path: Path) -> None:
    text, message = DEFECTS[name]
    path = tmp_path / "bad.star"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_star(path)
    assert "bad.star" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\x00\x01data_\n", b"data_\xff\xfe\n"])
def test_binary_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "b.star").write_bytes(content)
    with pytest.raises(InputError, match=r"b\.star: not a STAR file"):
        read_star(tmp_path / "b.star")


def test_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.star: the STAR file cannot be read"):
        read_star(tmp_path / "absent.star")


def test_conversion_names_label_and_row() -> None:
    block = StarBlock("p", {"rlnA": ["1", "x"], "rlnB": ["1", "1.5"], "rlnC": ["inf", "nan"]}, source="f.star")
    with pytest.raises(InputError, match=r"f\.star: rlnA in row 2"):
        block.numbers("rlnA")
    with pytest.raises(InputError, match=r"f\.star: rlnB in row 2 .* whole"):
        block.integers("rlnB")
    with pytest.raises(InputError, match=r"f\.star: column rlnZ is missing"):
        block.numbers("rlnZ")
    assert np.isinf(block.numbers("rlnC")[0]) and np.isnan(block.numbers("rlnC")[1])


labels = st.lists(st.from_regex(r"rln[A-Za-z0-9]{1,12}", fullmatch=True), min_size=1, max_size=5, unique_by=str.lower)
# Anything printable a single line can hold; a value with both quotes cannot be written and is tested apart.
alphabet = st.characters(min_codepoint=32, max_codepoint=0x17F).filter(str.isprintable)
texts = st.text(alphabet, max_size=12)
values = st.one_of(
    texts.filter(lambda v: not ('"' in v and "'" in v)),
    st.floats(allow_nan=False).map(repr),
    st.sampled_from(["data_x", "loop_", "_a", "#", "?", ".", ";", "$x", "[1,2]", "00001@a b.mrcs"]),
)


@st.composite
def star_blocks(draw: st.DrawFn) -> StarBlock:
    columns, loop = draw(labels), draw(st.booleans())
    rows = draw(st.integers(0, 6)) if loop else 1
    cells = st.lists(values, min_size=rows, max_size=rows)
    return StarBlock(draw(st.from_regex(r"[a-z_0-9]{0,8}", fullmatch=True)), {k: draw(cells) for k in columns}, loop)


@settings(max_examples=150, deadline=None)
@given(st.lists(star_blocks(), min_size=1, max_size=3, unique_by=lambda block: block.name))
def test_round_trip_keeps_every_value(tmp_path_factory: pytest.TempPathFactory, blocks: list[StarBlock]) -> None:
    path = tmp_path_factory.mktemp("star") / "t.star"
    write_star(path, blocks)
    back = read_star(path)
    assert list(back) == [block.name for block in blocks]
    for block in blocks:
        assert back[block.name].columns == block.columns
        assert back[block.name].is_loop == block.is_loop


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_floats_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    path = tmp_path_factory.mktemp("star") / "t.star"
    write_star(path, [make_block("p", {"rlnA": np.array(numbers)})])
    assert read_star(path)["p"].numbers("rlnA").tolist() == numbers


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("data_loop_ \n\t_rln#;'\"19.@\\"), max_size=60))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    try:
        blocks = parse_star(text, "f.star")
    except InputError as error:
        assert str(error).startswith("f.star: ") and "\n" not in str(error)
    else:
        assert all(len({len(c) for c in b.columns.values()}) <= 1 for b in blocks.values())


def test_unwritable_values_are_refused(tmp_path: Path) -> None:
    for value in ("a 'b' \"c\" d", "two\nlines"):
        with pytest.raises(InputError, match="rlnA"):
            write_star(tmp_path / "t.star", [make_block("p", {"rlnA": [value]})])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.star"
    write_star(path, [make_block("p", {"rlnA": ["old"]})])
    with pytest.raises(InputError):
        write_star(path, [make_block("p", {"rlnA": ["a\nb"]})])
    assert read_star(path)["p"].value("rlnA") == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_size_table_is_read_in_seconds(tmp_path: Path) -> None:
    rows = 105_247
    columns = {f"rlnColumn{i}": [f"{i}.5"] * rows for i in range(19)}
    columns["rlnImageName"] = [f"{i:06d}@stack.mrcs" for i in range(rows)]
    write_star(tmp_path / "t.star", [StarBlock("", columns)])
    started = time.process_time()
    assert read_star(tmp_path / "t.star")[""].row_count == rows
    assert time.process_time() - started < 2.0


def test_long_columns_that_only_begin_like_numbers_are_written_in_no_time(tmp_path: Path) -> None:
    """Whether a column needs quotes is asked once for all of it, in time that grows with its length alone."""
    names = ["1" * 30] * 20_000 + ["000001@stack of images.mrcs"]
    started = time.monotonic()
    write_star(tmp_path / "t.star", [make_block("particles", {"rlnImageName": names})])
    assert time.monotonic() - started < 5.0
    assert read_star(tmp_path / "t.star")["particles"].text("rlnImageName") == names
