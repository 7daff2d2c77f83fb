"""Image stacks: every mode against mrcfile, sizes checked first, bad pixels and paths named."""

from __future__ import annotations

import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.formats.references import resolve_images, split_reference
from cryorepro.em.formats.stacks import ParticleStack
from tests.em.real_data import real_data

BOX = 12


def table(names: list[str], directory: Path) -> Particles:
    columns = {
        "rlnImageName": np.array(names, dtype=object),
        "rlnOpticsGroup": np.ones(len(names), dtype=np.int64),
    }
    return Particles((OpticsGroup(1, "g", 300.0, 2.7, 0.1, 1.5),), columns, str(directory / "p.star"))


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, (count, BOX, BOX)).astype(np.float32)


def write(path: Path, data: np.ndarray) -> None:
    with mrcfile.new(path, overwrite=True) as handle:
        handle.set_data(data)
        handle.set_image_stack()


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "uint16", "float16"])
def test_every_mode_reads_as_mrcfile_does(dtype: str, tmp_path: Path) -> None:
    data = np.abs(images(5)).astype(dtype)
    write(tmp_path / "a.mrcs", data)
    stack = ParticleStack.open(table([f"{i}@a.mrcs" for i in (3, 1, 5)], tmp_path))
    out = stack.read()
    assert out.dtype == np.float32 and len(stack) == 3 and stack.box_px == BOX
    np.testing.assert_array_equal(out, data[[2, 0, 4]].astype(np.float32))


def test_big_endian_and_unstamped_files(tmp_path: Path) -> None:
    data = images(4)
    for order, stamp in ((">", b"\x11\x11\x00\x00"), (">", bytes(4)), ("<", bytes(4))):
        header = bytearray(1024)
        struct.pack_into(f"{order}10i", header, 0, BOX, BOX, 4, 2, 0, 0, 0, BOX, BOX, 1)
        header[212:216] = stamp
        (tmp_path / "b.mrcs").write_bytes(bytes(header) + data.astype(f"{order}f4").tobytes())
        np.testing.assert_array_equal(ParticleStack.open(table(["2@b.mrcs"], tmp_path)).read()[0], data[1])


@pytest.mark.parametrize(
    "name", ["aspire_sample_17x200.mrcs", "cryodrgn_empiar_10076_7x320.mrcs", "cryodrgn_relion31_5x256.mrcs",
             "cryojax_trpv1_10059_10x48.mrcs", "bioem/bioem_TwoImages.mrc", "bioem/bioem_p1.mrc"]
)  # fmt: skip
def test_real_stacks_with_odd_headers(name: str) -> None:
    path = real_data("small_stacks", *name.split("/"))
    count = read_mrc_header(path).shape[0]
    ours = ParticleStack.open(table([f"{i + 1}@{path}" for i in range(count)], path.parent)).read()
    with mrcfile.open(path, permissive=True) as handle:
        theirs = handle.data.reshape(count, *handle.data.shape[-2:])
    np.testing.assert_array_equal(ours, theirs)


def test_the_real_half_precision_stack() -> None:
    particles = read_particles(real_data("apoferritin_EMPIAR-10146", "particles_64px_3.0A.star"))
    stack = ParticleStack.open(particles)
    chosen = np.array([2386, 0, 1000, 1000])
    with mrcfile.mmap(real_data("apoferritin_EMPIAR-10146", "particles_64px_3.0A.mrcs"), mode="r") as handle:
        np.testing.assert_array_equal(stack.read(chosen), handle.data[chosen].astype(np.float32))
    assert stack.read([]).shape == (0, 64, 64)


def test_images_from_several_files_in_any_order(tmp_path: Path) -> None:
    data = {name: images(6, seed) for seed, name in enumerate("abc")}
    for name, values in data.items():
        write(tmp_path / f"{name}.mrcs", values)
    picks = [(str(n), int(i)) for n, i in zip(np.random.default_rng(1).choice(list("abc"), 40),
                                              np.random.default_rng(2).integers(0, 6, 40), strict=True)]  # fmt: skip
    stack = ParticleStack.open(table([f"{i + 1:06d}@{n}.mrcs" for n, i in picks], tmp_path))
    order = np.random.default_rng(3).permutation(40)
    np.testing.assert_array_equal(stack.read(order), np.stack([data[picks[k][0]][picks[k][1]] for k in order]))


def test_truncated_stack_is_refused_before_mapping(tmp_path: Path) -> None:
    write(tmp_path / "a.mrcs", images(5))
    with (tmp_path / "a.mrcs").open("r+b") as handle:
        handle.truncate(1024 + 5 * BOX * BOX * 4 - 1)
    with pytest.raises(
        InputError, match=r"a\.mrcs: truncated: the header declares 5 images and 3904 bytes, but the file has 3903"
    ):
        ParticleStack.open(table(["1@a.mrcs"], tmp_path))


def test_a_header_that_asks_for_terabytes_takes_no_memory(tmp_path: Path) -> None:
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, 900_000, 900_000, 1_000_000, 2, 0, 0, 0, 1, 1, 1)
    (tmp_path / "a.mrcs").write_bytes(bytes(header))
    with pytest.raises(InputError, match="truncated"):
        ParticleStack.open(table(["1@a.mrcs"], tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_pixels_name_the_image(value: float, tmp_path: Path) -> None:
    data = images(5)
    data[3, 2, 1] = value
    data[3, 5, 5] = -value  # opposite infinities must not cancel
    write(tmp_path / "a.mrcs", data)
    stack = ParticleStack.open(table([f"{i + 1}@a.mrcs" for i in range(5)], tmp_path))
    stack.read([0, 1, 2, 4])
    with pytest.raises(InputError, match=r"000004@.*a\.mrcs: the image has NaN or infinite pixels"):
        stack.read([4, 3, 1])


REFUSED = {
    "missing": (["1@absent.mrcs"], r"p\.star: the stack absent\.mrcs does not exist"),
    "slice": (["6@a.mrcs"], r"p\.star: rlnImageName asks for image 6 of .*a\.mrcs, which holds 5"),
    "slice zero": (["0@a.mrcs"], r"p\.star: rlnImageName '0@a\.mrcs' is not of the form"),
    "not a number": (["x@a.mrcs"], "is not of the form"),
    "not square": (["1@wide.mrcs"], r"wide\.mrcs: images of 14 x 12 pixels are not square"),
    "two boxes": (["1@a.mrcs", "1@big.mrcs"], r"big\.mrcs: box 24 differs from box 12"),
    "text": (["1@text.mrcs"], r"text\.mrcs: not an MRC file"),
    "short": (["1@short.mrcs"], r"short\.mrcs: not an MRC file \(3 bytes"),
    "complex": (["1@complex.mrcs"], r"complex\.mrcs: MRC mode 4 is not supported"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named(name: str, tmp_path: Path) -> None:
    write(tmp_path / "a.mrcs", images(5))
    write(tmp_path / "big.mrcs", np.zeros((2, 24, 24), np.float32))
    write(tmp_path / "wide.mrcs", np.zeros((2, 12, 14), np.float32))
    write(tmp_path / "complex.mrcs", np.zeros((2, 12, 12), np.complex64))
    (tmp_path / "text.mrcs").write_bytes(b"hello world " * 200)
    (tmp_path / "short.mrcs").write_bytes(b"abc")
    names, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        ParticleStack.open(table(names, tmp_path))


def test_declared_box_must_be_the_images(tmp_path: Path) -> None:
    write(tmp_path / "a.mrcs", images(5))
    with pytest.raises(InputError, match=r"p\.star: rlnImageSize is 64 but the images are 12"):
        ParticleStack.open(table(["1@a.mrcs"], tmp_path).with_box(64))


def test_names_resolve_from_the_table_its_parents_or_a_root(tmp_path: Path) -> None:
    for part in ("project/Extract", "project/Select/job1", "elsewhere/Extract"):
        (tmp_path / part).mkdir(parents=True)
    for part in ("project/Extract/a.mrcs", "elsewhere/Extract/a.mrcs"):
        write(tmp_path / part, images(1))
    particles = table(["1@Extract/a.mrcs"], tmp_path / "project" / "Select" / "job1")
    assert resolve_images(particles).paths == (tmp_path / "project/Extract/a.mrcs",)
    assert resolve_images(particles, root=tmp_path / "elsewhere").paths == (tmp_path / "elsewhere/Extract/a.mrcs",)
    with pytest.raises(InputError, match=r"p\.star: the stack Extract/a\.mrcs does not exist"):
        resolve_images(particles, root=tmp_path)


@pytest.mark.parametrize("name", ["1@../outside.mrcs", "1@link.mrcs", "1@{absolute}"])
def test_stacks_outside_an_allowed_root_are_refused(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    write(tmp_path / "outside.mrcs", images(1))
    (inside / "link.mrcs").symlink_to(tmp_path / "outside.mrcs")
    particles = table([name.format(absolute=tmp_path / "outside.mrcs")], inside)
    assert len(resolve_images(particles).paths) == 1
    with pytest.raises(InputError, match="lies outside"):
        ParticleStack.open(particles, allowed_root=inside)


def test_references() -> None:
    assert split_reference("000012@a/b@c.mrcs", "p") == (11, "a/b@c.mrcs")
    assert split_reference("single.mrc", "p") == (0, "single.mrc")
