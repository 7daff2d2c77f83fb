"""Machines and their prices as data: cloud instances, GPUs, storage."""

from __future__ import annotations

from datetime import date

from pydantic import Field, model_validator

from cryorepro.model.base import Record
from cryorepro.model.claim import Quality


class Gpu(Record):
    """One GPU model as its vendor's nominal figures describe it; ``flag`` says why an entry must not be used."""

    name: str
    family: str = Field(description="how claims name it: V100, A100, RTX-3090")
    source_name: str
    memory_gb: float = Field(gt=0)
    memory_type: str
    bandwidth_gb_per_s: float = Field(gt=0)
    fp32_tflops: float = Field(gt=0)
    fp64_tflops: float = Field(gt=0)
    boost_clock_mhz: float = Field(gt=0)
    multiprocessors: int | None = None
    power_limit_w: float = Field(gt=0)
    bus: str
    compute_capability: str
    level2_cache_mb: float = Field(gt=0)
    released: date
    architecture: str
    source: str
    quality: Quality
    flag: str | None = None


class Price(Record):
    """An on-demand price as it was seen between two dates; not a statement about the day it changed."""

    region: str
    operating_system: str = "linux"
    usd_per_hour: float = Field(gt=0)
    seen_from: date
    seen_until: date
    source: str
    quality: Quality

    @model_validator(mode="after")
    def _ordered(self) -> Price:
        if self.seen_until < self.seen_from:
            raise ValueError(f"seen_until ({self.seen_until}) lies before seen_from ({self.seen_from})")
        return self


class InstanceGpus(Record):
    """The GPUs of an instance; ``model`` is a name in ``gpus.yaml``."""

    model: str
    count: int = Field(ge=1)
    memory_mib_each: int = Field(gt=0)


class Instance(Record):
    """A machine that can be rented. What was not found in any source is null, and ``quality`` says unverified."""

    name: str
    provider: str
    vcpu: int | None = Field(None, ge=1)
    physical_cores: int | None = Field(None, ge=1)
    memory_gib: float | None = Field(None, gt=0)
    gpus: InstanceGpus | None = None
    local_nvme_gb: float | None = Field(None, ge=0, description="sum over drives")
    network_mbit_per_s: float | None = None
    ebs_mbit_per_s: float | None = None
    processor_vendor: str | None = None
    sustained_clock_mhz: float | None = None
    source: str
    quality: Quality
    prices: list[Price] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list, description="errors of published pages, and what is missing")

    def price_on(self, day: date, region: str = "us-east-1") -> Price | None:
        """The price seen on ``day``; the nearest one seen when none covers it; None when there is none."""
        known = [price for price in self.prices if price.region == region]
        if not known:
            return None
        return min(known, key=lambda price: _days_apart(price, day))


def _days_apart(price: Price, day: date) -> int:
    return max((price.seen_from - day).days, (day - price.seen_until).days, 0)


class Storage(Record):
    """Storage that can be rented; a price that no source gave is null."""

    name: str
    provider: str
    kind: str
    region: str
    usd_per_gb_month: float | None = Field(None, ge=0)
    minimum_gb: float | None = Field(None, ge=0)
    throughput_gb_per_s: float | None = Field(None, gt=0)
    throughput_mb_per_s_per_tib: float | None = Field(None, gt=0)
    capacity_tb: float | None = Field(None, gt=0)
    seen: date | None = None
    source: str
    quality: Quality
    notes: list[str] = Field(default_factory=list)
