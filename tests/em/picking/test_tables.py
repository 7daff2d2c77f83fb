"""Tables of picks: read back as written; RELION's own; what is no table of picks is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.tables import AUTOPICK, read_picks, stem_of, write_picks

finite = st.floats(-1e5, 1e5, allow_nan=False)
column = st.one_of(st.just(np.nan), finite.filter(lambda value: value != -999.0))


@st.composite
def some_picks(draw: st.DrawFn) -> Picks:
    count = draw(st.integers(0, 6))

    def values(kind: st.SearchStrategy[float]) -> np.ndarray:
        return np.array(draw(st.lists(kind, min_size=count, max_size=count)), dtype=np.float64)

    at = np.stack([values(finite), values(finite)], axis=1)
    classes = np.array(draw(st.lists(st.integers(0, 99), min_size=count, max_size=count)), dtype=np.int64)
    return Picks(at, values(column), values(column), values(column), classes, values(column))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(some_picks(), min_size=1, max_size=3))
def test_picks_come_back_exactly_none_included(tmp_path_factory: pytest.TempPathFactory, picks: list[Picks]) -> None:
    folder = tmp_path_factory.mktemp("picks")
    names = [f"sums/m{number}.mrc" for number in range(len(picks))]
    write_picks(folder, names, picks, {"cryoreproPicks": [float(len(found)) for found in picks]})
    read = read_picks(folder / AUTOPICK)
    assert read.names == tuple(names) and read.total == sum(len(found) for found in picks)
    for one, other in zip(read.picks, picks, strict=True):
        for name in Picks.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_relions_own_picks_are_read(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "micrograph_bad_ice" / "Ucsf_stack_1142_DW_autopick.star"
    (tmp_path / AUTOPICK).write_text(
        "data_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n"
        f"a.mrc {source}\n"
    )  # fmt: skip
    read = read_picks(tmp_path / AUTOPICK)
    assert read.total == len([line for line in source.read_text().splitlines() if line.count(".") >= 3])
    assert read.picks[0].at_px[0] == pytest.approx([839.125024, 19.979167])
    assert read.picks[0].ncc[0] == pytest.approx(0.624705) and np.isnan(read.picks[0].power).all()


LIST = "data_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n"
TABLE = "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n"


@pytest.mark.parametrize(
    ("text", "coordinates", "words"),
    [
        ("data_other\n\nloop_\n_rlnA #1\n1\n", TABLE, "data_coordinate_files is missing"),
        (LIST + "a.mrc gone.star\n", TABLE, "gone.star does not exist"),
        (LIST + "a.mrc c.star\na.mrc c.star\n", TABLE + "1 2\n", "twice"),
        (LIST + "a.mrc c.star\n", TABLE + "1 nan\n", "not a finite number"),
        (LIST + "a.mrc c.star\n", "data_\n\nloop_\n_rlnA #1\n1\n", "rlnCoordinateX is missing"),
    ],
    ids=["no-list", "no-file", "twice", "nan", "no-coordinates"],
)
def test_what_is_no_table_of_picks_is_refused(text: str, coordinates: str, words: str, tmp_path: Path) -> None:
    (tmp_path / AUTOPICK).write_text(text)
    (tmp_path / "c.star").write_text(coordinates)
    with pytest.raises(InputError, match=words):
        read_picks(tmp_path / AUTOPICK)


def test_micrographs_of_one_name_are_refused(tmp_path: Path) -> None:
    empty = Picks(np.empty((0, 2)), *(np.empty(0),) * 3, np.empty(0, dtype=np.int64), np.empty(0))
    with pytest.raises(InputError, match=r"b/x\.mrc: another micrograph"):
        write_picks(tmp_path, ["a/x.mrc", "b/x.mrc"], [empty, empty], {})
    assert stem_of("a/x_v1.2.mrc") == "x_v1.2"
