"""The conformance kit that comes with cryorepro, applied to this plugin: ``pytest`` in this directory."""

from __future__ import annotations

from pathlib import Path

from cryorepro_example import plugin
from cryorepro_example.dataset import Ball
from cryorepro_example.probe import Entropy
from cryorepro_example.runner import ThresholdRunner

from cryorepro.model.dataset import DataRequest
from cryorepro.model.stage import StageRequest
from cryorepro.plugins.testing import DatasetConformance, ProbeConformance, RunnerConformance, check_plugin_module


def test_the_plugin_loads_and_every_implementation_fits_its_interface() -> None:
    """As cryorepro would load it."""
    check_plugin_module(plugin)


class TestBall(DatasetConformance):
    """The dataset."""

    def source(self) -> Ball:
        """What is tested."""
        return Ball()

    def request(self, directory: Path, truth_directory: Path) -> DataRequest:
        """The twin."""
        return DataRequest(tier="twin", directory=directory, truth_directory=truth_directory, seed=1)


class TestThreshold(RunnerConformance):
    """The runner."""

    def runner(self) -> ThresholdRunner:
        """What is tested."""
        return ThresholdRunner()

    def request(self, directory: Path, output_dir: Path) -> StageRequest:
        """A mask of the ball."""
        data = Ball().prepare(DataRequest(tier="twin", directory=directory, truth_directory=directory, seed=1))
        parameters = {"threshold": 0.5, "extend_px": 0, "soft_edge_px": 0}
        inputs = {"map": data.files["map"]}
        return StageRequest(
            stage="mask", kind="maskcreate", parameters=parameters, inputs=inputs, output_dir=output_dir, seed=1
        )


class TestEntropy(ProbeConformance):
    """The probe."""

    def probe(self) -> Entropy:
        """What is tested."""
        return Entropy()
