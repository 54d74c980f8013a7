"""An account that fails to open leaves no open file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from creeklab.cloud.account import load_account
from creeklab.cloud.accounts import account_services
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.service import Endpoints, Service
from creeklab.cloud.settings import Settings
from creeklab.cloud.storage.database import Database
from tests.cloud.broker_fixture import Clock


def test_a_failed_account_closes_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Database] = []

    def store(path: Path) -> Database:
        opened.append(Database(path))
        return opened[-1]

    def fail(_: Any) -> Endpoints:
        raise ZeroDivisionError

    monkeypatch.setattr(account_services, "Database", store)
    ca, clock = CertificateAuthority(tmp_path / "ca"), Clock(1_785_000_000.0)
    cloud = account_services.CloudContext(
        [Service("failing", fail)], Settings(), ca, "localhost", clock, clock
    )
    with pytest.raises(ZeroDivisionError):
        account_services.AccountServices(cloud, tmp_path, load_account(tmp_path))
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")
