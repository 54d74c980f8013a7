"""An account's registry in a file of its own, and the operations of ``iot`` on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.operations import RegistryOperations
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.storage.database import Database
from tests.cloud.iot_fixture import IDENTITY, Checked, Clock


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def iot_registry(
    authority: CertificateAuthority, clock: Clock, tmp_path: Path
) -> Iterator[Registry]:
    store = Database(tmp_path / "iot.db")
    yield Registry(
        store,
        authority,
        IDENTITY,
        "localhost",
        clock,
    )
    store.close()


@pytest.fixture
def iot(iot_registry: Registry) -> Any:
    return Checked(RegistryOperations(iot_registry))
