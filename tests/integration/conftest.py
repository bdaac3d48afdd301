"""The servers of the integration tests, each started when it is first asked for."""

from collections.abc import Iterator

import pytest
import servers


@pytest.fixture(scope="session")
def slurm() -> Iterator[None]:
  with servers.slurm():
    yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
  with servers.postgresql() as url:
    yield url


@pytest.fixture(scope="session")
def raylets() -> Iterator[servers.Raylets]:
  with servers.raylets() as cluster:
    yield cluster
