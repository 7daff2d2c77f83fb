"""Parallel ranges, the rate limit, and the figures a person is shown."""

from __future__ import annotations

import time

import pytest

from cryorepro.cli.transfers import describe
from cryorepro.em.errors import InputError
from cryorepro.workflow.fetch.meter import Meter, Reading
from cryorepro.workflow.fetch.orders import rate_of
from tests.workflow.fetch.conftest import SIZE, Place


def seconds(place: Place, **settings: object) -> float:
    place.target.unlink(missing_ok=True)
    began = time.monotonic()
    place.fetch(**settings)
    return time.monotonic() - began


def test_four_ranges_are_three_times_one_throttled_connection(place: Place) -> None:
    """The server holds each connection to 0.5 MB/s, as EMPIAR's holds each to about 1.5 MB/s."""
    place.conduct(rate=500_000)
    one = seconds(place, connections=1)
    four = seconds(place, connections=4)
    assert one > 5.0, "the server is throttled"
    assert one / four >= 3.0


@pytest.mark.parametrize("connections", [1, 4])
def test_the_rate_limit_holds_for_all_connections_together(place: Place, connections: int) -> None:
    place.conduct()
    taken = seconds(place, connections=connections, rate_limit=2_000_000.0)
    assert taken >= 0.8 * SIZE / 2_000_000
    assert taken <= 2.0 * SIZE / 2_000_000 + 1.0


def test_rate_and_time_left() -> None:
    now = 0.0
    shown: list[Reading] = []
    meter = Meter(shown.append, interval_s=1.0, clock=lambda: now)
    meter.expect(10_000_000)
    meter.found(2_000_000)
    for _ in range(4):
        now += 1.0
        meter.received(1_000_000, 900_000)
    reading = meter.read()
    assert (reading.done_bytes, reading.resumed_bytes) == (5_600_000, 2_000_000)
    assert reading.rate_bytes_per_s == pytest.approx(1_000_000)
    assert reading.eta_s == pytest.approx(4.4)
    assert describe(reading) == "5.6 MB of 10.0 MB, 1.0 MB/s, 4 s left"
    assert len(shown) == 4


@pytest.mark.parametrize(("text", "rate"), [("500k", 5e5), ("20M", 2e7), ("1.5M", 1.5e6), ("12345", 12345.0)])
def test_rates_a_person_types(text: str, rate: float) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "10", "-5M", "1e9"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--limit-rate"):
        rate_of(text)
