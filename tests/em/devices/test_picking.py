"""Picking on a device that only pretends to be a GPU: the same picks, to the bit."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from cryorepro.em.ctf import CtfParameters
from cryorepro.em.devices.overlap import overlapped
from cryorepro.em.errors import InputError
from cryorepro.em.picking import search
from cryorepro.em.picking.correlation import best_of
from cryorepro.em.picking.image_templates import References
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.search import Found, PickSettings, pick_blobs, pick_templates
from tests.em.devices.pretend import GPU, Marked, pretend_gpu
from tests.em.picking.scenes import PIXEL, places, scene

SETTINGS = PickSettings(100.0, 140.0, lowest_ncc=0.3)
SHAPES = frozenset({"circular", "elliptical", "ring"})


@pytest.fixture(scope="module")
def micrograph() -> torch.Tensor:
    rng = np.random.default_rng(1)
    at = places(rng, 15, (400, 480), 70.0, 40.0)
    angles = rng.uniform(0.0, 180.0, len(at))
    return torch.from_numpy(scene(rng, at, (400, 480), short=40.0, angles_deg=angles).astype(np.float32))


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU has free is not to be asked of one that is not there."""
    monkeypatch.setattr(search, "free_bytes", lambda _device: 1 << 30)


def _references() -> References:
    y, x = np.indices((64, 64)) - 32.0
    images = np.stack([np.exp(-(x**2 / 200 + y**2 / 80)), np.exp(-(x**2 / 100 + y**2 / 100))])
    return References(torch.from_numpy(images.astype(np.float32)), (1, 2), 3.0)


def _ctf() -> CtfParameters:
    values = (12_000.0, 11_000.0, 30.0, 0.0, 300.0, 2.7, 0.1)
    return CtfParameters(*(torch.tensor([value], dtype=torch.float64) for value in values))


def _picked(micrograph: torch.Tensor, how: str) -> Found:
    if how == "blobs":
        return pick_blobs(micrograph, PIXEL, SETTINGS, SHAPES)
    return pick_templates(micrograph, PIXEL, SETTINGS, _references(), 20.0, _ctf() if how == "with a CTF" else None)


def _same(ours: Found, theirs: Found) -> None:
    assert len(ours.picks) > 10
    assert (ours.masked_share, ours.noise_known) == (theirs.masked_share, theirs.noise_known)
    for name in Picks.__dataclass_fields__:
        one, other = getattr(ours.picks, name), getattr(theirs.picks, name)
        assert not isinstance(other, Marked)
        np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize("how", ["blobs", "templates", "with a CTF"])
def test_micrographs_are_picked_on_the_device_and_picks_have_the_bits_of_the_cpu(
    micrograph: torch.Tensor, how: str
) -> None:
    here = _picked(micrograph, how)
    with pretend_gpu() as device:
        there = _picked(micrograph.to(GPU), how)
    assert device.operations > 150
    _same(here, there)


def test_templates_at_once_follow_the_free_memory(micrograph: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_gpu():
        image = micrograph.to(GPU)
        assert search.templates_at_once(image) == 64
        monkeypatch.setattr(search, "free_bytes", lambda _device: 64 * 5 * image.numel())
        assert search.templates_at_once(image) == 5
        monkeypatch.setattr(search, "free_bytes", lambda _device: 0)
        assert search.templates_at_once(image) == 1
    assert search.templates_at_once(micrograph) == 4


def test_a_search_that_lacks_memory_starts_again_with_fewer_templates(
    micrograph: torch.Tensor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain, asked = _picked(micrograph, "blobs"), []

    def short_of_memory(*given: object) -> object:
        asked.append(given[-1])
        if asked[-1] > 10:  # type: ignore[operator]
            raise torch.OutOfMemoryError("no memory")
        return best_of(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "best_of", short_of_memory)
    with caplog.at_level(logging.WARNING), pretend_gpu():
        again = _picked(micrograph.to(GPU), "blobs")
    assert asked[:4] == [64, 32, 16, 8]
    assert "once more, with 8 templates at once" in caplog.text
    _same(plain, again)
    monkeypatch.setattr(search, "best_of", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all")))
    with pytest.raises(torch.OutOfMemoryError), pretend_gpu():
        _picked(micrograph.to(GPU), "blobs")


def test_items_are_read_ahead_in_order_and_no_further_than_asked() -> None:
    started: list[int] = []

    def read(number: int) -> int:
        started.append(number)
        if number == 5:
            raise InputError("the fifth")
        return number * 10

    seen = []
    with pytest.raises(InputError, match="the fifth"):
        for value in overlapped(read, range(9)):
            seen.append(value)
            assert len(started) <= len(seen) + 1
    assert seen == [0, 10, 20, 30, 40]
