"""The runners agree: the same tests, on the loop, in threads, in processes, on a cluster of Dask's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from creche import (
    ConcurrentTaskRunner,
    DaskTaskRunner,
    ProcessTaskRunner,
    SequentialTaskRunner,
    ThreadTaskRunner,
)
from creche.testing.contract import Make, RunnerContract
from dask_clusters import Cluster, cluster

FAR = {"test_context_variables": "they do not travel to another process"}

pytestmark = pytest.mark.usefixtures("real_time")


class TestConcurrentTaskRunner(RunnerContract):
    """Async calls on the loop, plain ones in threads."""

    @pytest.fixture
    def make(self) -> Make:
        return partial(ConcurrentTaskRunner, 2)


class TestSequentialTaskRunner(RunnerContract):
    """One call at a time."""

    workers = 1

    @pytest.fixture
    def make(self) -> Make:
        return SequentialTaskRunner


class TestThreadTaskRunner(RunnerContract):
    """All in threads."""

    @pytest.fixture
    def make(self) -> Make:
        return partial(ThreadTaskRunner, 2)


@pytest.mark.slow
class TestProcessTaskRunner(RunnerContract):
    """In worker processes."""

    contains_exit = True
    skips = FAR

    @pytest.fixture
    def make(self) -> Make:
        return partial(ProcessTaskRunner, 2)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers."""
    with cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.mark.slow
class TestDaskTaskRunner(RunnerContract):
    """On a cluster that is there, in processes of its own."""

    contains_exit = True
    skips = FAR

    @pytest.fixture
    def make(self, there: Cluster) -> Make:
        return partial(DaskTaskRunner, there.address, max_workers=2)
