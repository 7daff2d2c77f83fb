"""A conformance kit for plugin authors: subclass, say how to make the thing, run pytest.

    class TestMyRunner(RunnerConformance):
        def runner(self): return MyRunner()
        def request(self, directory, output_dir): ...

Each check fails with a sentence. ``tmp_path`` is pytest's; nothing else of it is needed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from types import ModuleType

from cryorepro.model.dataset import DataRequest
from cryorepro.model.stage import StageFailure, StageRequest, StageResult
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.discovery import Candidate, Provenance
from cryorepro.plugins.implementation import instantiate, lacks, spec_path
from cryorepro.plugins.interfaces import DatasetSource, MachineProbe, StageRunner
from cryorepro.plugins.loader import build_catalogue
from cryorepro.plugins.plain_json import plain_json
from cryorepro.plugins.types import KINDS


def check_plugin_module(module: ModuleType) -> Catalogue:
    """Load ``module`` as cryorepro would, alone, and make every implementation it names.

    Raises:
        AssertionError: the module would be refused, or registers nothing.
        PluginError: an implementation is missing or does not fit its interface.
    """
    provenance = Provenance("plugin-under-test", "0")
    catalogue = build_catalogue([Candidate("plugin-under-test", module.__name__, provenance)], {})
    assert not catalogue.refusals, f"the plugin would be refused: {catalogue.refusals[0].error}"
    entries = [entry for kind in KINDS for entry in catalogue.all(kind)]
    assert entries, "the plugin registers nothing"
    for entry in entries:
        if entry.kind == "specs":
            spec_path(entry)
        else:
            instantiate(entry)
    return catalogue


class DatasetConformance:
    """Checks of a dataset: override :meth:`source` and :meth:`request`."""

    def source(self) -> DatasetSource:
        """The dataset."""
        raise NotImplementedError

    def request(self, directory: Path, truth_directory: Path) -> DataRequest:
        """A small request."""
        raise NotImplementedError

    def test_equal_requests_give_equal_bytes_in_their_place(self, tmp_path: Path) -> None:
        """Files and truth lie where the request says, and a second preparation gives the same bytes."""
        first, second = (self._prepare(tmp_path / name) for name in ("first", "second"))
        assert first, "the dataset prepared no file"
        assert first == second, "two preparations from one seed differ"

    def _prepare(self, root: Path) -> dict[str, str]:
        directory, truth_directory = root / "data", root / "truth"
        directory.mkdir(parents=True)
        truth_directory.mkdir()
        request = self.request(directory, truth_directory)
        prepared = self.source().prepare(request)
        truth = self.source().truth(request)
        assert prepared.has_truth == bool(truth), "has_truth must say whether truth() names files"
        for folder, files in ((directory, prepared.files), (truth_directory, truth)):
            for role, path in files.items():
                assert path.is_absolute() and path.is_file(), f"{role}: {path} is not an absolute path of a file"
                local = request.local_path is not None and path.is_relative_to(request.local_path)
                assert path.is_relative_to(folder) or local, f"{role}: {path} is not below {folder}"
        return _digests(root)


class RunnerConformance:
    """Checks of a runner: override :meth:`runner` and :meth:`request`."""

    timeout_s = 120.0

    def runner(self) -> StageRunner:
        """The runner."""
        raise NotImplementedError

    def request(self, directory: Path, output_dir: Path) -> StageRequest:
        """A small stage; its inputs may be written below ``directory``."""
        raise NotImplementedError

    def test_planning_is_repeatable_and_writes_nothing(self, tmp_path: Path) -> None:
        """A plan can be shown without being carried out."""
        request = self._request(tmp_path)
        before = _digests(tmp_path)
        assert self.runner().plan(request) == self.runner().plan(request), "two plans of one request differ"
        assert _digests(tmp_path) == before, "planning wrote files"

    def test_version_is_told(self) -> None:
        """At least a name and a version."""
        told = self.runner().version()
        assert {"name", "version"} <= set(told), "version() must give name and version"
        assert all(isinstance(text, str) and text for text in told.values()), "versions must be texts"

    def test_nothing_written_is_a_failure(self, tmp_path: Path) -> None:
        """A program that exits 0 and writes nothing is found out."""
        request = self._request(tmp_path)
        assert self.runner().progress(request) is None, "there is progress before anything ran"
        self._must_fail(request, "nothing was written")

    def test_a_run_is_collected_and_damage_to_any_output_is_noticed(self, tmp_path: Path) -> None:
        """Outputs are inside the stage's directory; each is missed when gone and noticed when cut short."""
        request = self._request(tmp_path)
        result = self._run(request)
        assert result.outputs, "the stage has no outputs"
        for role, relative in result.outputs.items():
            path = request.output_dir / relative
            assert not relative.is_absolute() and path.is_file(), f"output {role}: {relative} is not a file inside"
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            self._must_fail(request, f"output {role} was cut to half its length")
            path.unlink()
            self._must_fail(request, f"output {role} was deleted")
            path.write_bytes(content)

    def _request(self, root: Path) -> StageRequest:
        (root / "inputs").mkdir()
        (root / "stage").mkdir()
        return self.request(root / "inputs", root / "stage")

    def _run(self, request: StageRequest) -> StageResult:
        command = self.runner().plan(request)
        log = request.output_dir / "conformance.log"
        with log.open("wb") as stream:
            environment = os.environ | command.environment
            done = subprocess.run(
                command.argv, cwd=command.cwd, env=environment, stdout=stream, stderr=stream, timeout=self.timeout_s
            )
        assert done.returncode == 0, f"exit code {done.returncode}: {log.read_text(errors='replace')[-2000:]}"
        return self.runner().collect(request, log)

    def _must_fail(self, request: StageRequest, what: str) -> None:
        log = request.output_dir / "conformance.log"
        log.touch()
        try:
            self.runner().collect(request, log)
        except StageFailure:
            return
        raise AssertionError(f"{what}, and collect() raised no StageFailure")


class ProbeConformance:
    """Checks of a probe: override :meth:`probe`."""

    def probe(self) -> MachineProbe:
        """The probe."""
        raise NotImplementedError

    def test_it_gives_plain_json(self, tmp_path: Path) -> None:
        """Whatever directories it is given, even ones that do not exist yet."""
        assert lacks(self.probe(), MachineProbe) is None
        measured = self.probe().measure({"input": tmp_path, "scratch": tmp_path / "later", "output": tmp_path})
        assert plain_json(measured), "the probe tells nothing"
        assert str(tmp_path) not in str(measured), "the probe tells a path"


def _digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
