"""One store for all tests of artifacts, and the sound run the others are held against."""

from __future__ import annotations

import pytest

from tests.compare.artifacts.wrong_store import Answer, WrongStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> WrongStore:
    return WrongStore(tmp_path_factory.mktemp("wrong"))


@pytest.fixture(scope="session")
def sound(store: WrongStore) -> Answer:
    return store.run()
