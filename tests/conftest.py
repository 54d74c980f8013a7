"""Fixtures: a cloud as users run it, in a process and a home folder of its own, and its Things."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from creeklab import Lab, open_lab
from creeklab.client.key_files import ThingFiles
from creeklab.cloud import supervisor
from tests.closing import close_what_is_reset
from tests.scheduling import FilesAndPackages, rank

counter = itertools.count(1)

# The time for an example depends on the load of the machine, so no test asserts it.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_configure(config: pytest.Config) -> None:
    close_what_is_reset()
    config.addinivalue_line("markers", "live: runs on AWS itself; needs -m live and an AWS account")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndPackages:
    return FilesAndPackages(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with the longest files; run tests that need an AWS account only with ``-m live``."""
    items.sort(key=rank)
    if "live" not in config.option.markexpr:
        live = [item for item in items if item.get_closest_marker("live")]
        items[:] = [item for item in items if item not in live]
        config.hook.pytest_deselected(items=live)


@pytest.fixture(scope="session")
def session_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("home")
    lab = open_lab(home=home)
    yield lab
    supervisor.stop(home)


@pytest.fixture
def lab(session_lab: Lab) -> Lab:
    return session_lab


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An empty home folder, whose cloud is stopped at the end."""
    yield tmp_path / "home"
    supervisor.stop(tmp_path / "home")


@dataclass(frozen=True)
class NewThing:
    """A Thing for one test: name, certificate, files, and the ARN prefix of its account."""

    name: str
    certificate_arn: str
    certificate_id: str
    files: ThingFiles
    arn: str
    policy: str


ALLOW_ALL = [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]


@pytest.fixture
def new_thing(lab: Lab) -> Callable[..., NewThing]:
    """Return a function that creates a Thing with an active certificate and a policy.

    In its statements, ``ARN`` is the prefix of the account, and ``THING`` the Thing's name.
    """

    def make(statements: list[dict[str, Any]] | None = None) -> NewThing:
        return make_thing(lab, statements)

    return make


def make_thing(lab: Lab, statements: list[dict[str, Any]] | None = None) -> NewThing:
    name = f"thing-{next(counter)}"
    iot = lab.client("iot")
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    iot.create_thing(thingName=name)
    answer = iot.create_keys_and_certificate(setAsActive=True)
    files = lab.keys.save(name, answer)
    iot.attach_thing_principal(thingName=name, principal=answer["certificateArn"])
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": ALLOW_ALL if statements is None else statements}
    )
    document = document.replace("ARN", arn).replace("THING", name)
    iot.create_policy(policyName=f"{name}-policy", policyDocument=document)
    iot.attach_policy(policyName=f"{name}-policy", target=answer["certificateArn"])
    return NewThing(
        name,
        answer["certificateArn"],
        answer["certificateId"],
        files,
        arn,
        f"{name}-policy",
    )
