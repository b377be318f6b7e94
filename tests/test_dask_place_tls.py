"""Dask with certificates: a real scheduler and workers that speak TLS and want to be shown one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Security

from creche import DaskTaskRunner
from dask_clusters import SETTINGS, Cluster, cluster, double

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_time"), pytest.mark.slow]

PARTS = ("tls_ca_file", "tls_client_cert", "tls_client_key")


@pytest.fixture(scope="module")
def ours() -> Security:
    """Certificates that the cluster trusts, made for it."""
    return Security.temporary()  # type: ignore[no-any-return]  # distributed has no types


@pytest.fixture(scope="module")
def secured(ours: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that speaks with nobody else."""
    folder = tmp_path_factory.mktemp("tls")
    files = {}
    for part in PARTS:
        files[part] = folder / part
        files[part].write_text(getattr(ours, part))
        os.chmod(files[part], 0o600)  # noqa: PTH101 - a name, as it was given
    words = [
        f"--tls-{word}={files[part]}"
        for word, part in zip(("ca-file", "cert", "key"), PARTS, strict=True)
    ]
    settings = {**SETTINGS, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
    with cluster(folder, workers=1, settings=settings, words=[*words, "--protocol=tls"]) as made:
        yield made


async def test_with_our_certificate(secured: Cluster, ours: Security) -> None:
    """Dask's options pass through: the call and its result go by TLS."""
    assert secured.address.startswith("tls://")
    runner = DaskTaskRunner(secured.address, client_kwargs={"security": ours})
    async with runner.start():
        assert await runner.submit_nowait("double", double, 21) == 42


async def refusal(address: str, **kwargs: Any) -> tuple[BaseException, float]:
    """What is raised instead of an open runner, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises((ValueError, ConnectionError)) as caught:
        async with DaskTaskRunner(address, client_kwargs={"timeout": 2, **kwargs}).start():
            raise AssertionError
    return caught.value, time.monotonic() - began


async def test_without_one(secured: Cluster) -> None:
    """It is said at once what is missing."""
    error, seconds = await refusal(secured.address, timeout=20)
    assert isinstance(error, ValueError)
    assert "wants certificates: pass client_kwargs={'security': distributed.Security(...)}" in str(error)
    assert seconds < 15


async def test_with_one_of_somebody_else(secured: Cluster) -> None:
    """It is refused, and that is said, when Dask's own time for connecting is over."""
    other = Security.temporary()
    error, seconds = await refusal(secured.address, security=other)
    assert isinstance(error, ConnectionError)
    assert "certificate" in str(error)
    assert secured.address in str(error)
    assert seconds < 2 + 5


async def test_without_tls(secured: Cluster) -> None:
    """Whoever speaks plainly is not spoken to."""
    address = secured.address.replace("tls://", "tcp://")
    error, seconds = await refusal(address)
    assert isinstance(error, ConnectionError)
    assert address in str(error)
    assert seconds < 2 + 5
