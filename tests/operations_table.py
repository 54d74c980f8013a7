"""Write ``docs/operations.md``: the AWS operations that the local cloud serves.

The table is made from the list of services and botocore's models; a test fails if it is out of
date. Regenerate it with ``python -m tests.operations_table``.
"""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

import botocore

from creeklab.cloud.api.http_api import HttpService
from creeklab.cloud.local_cloud import LocalCloud
from creeklab.cloud.settings import Settings

FILE = Path(__file__).parents[1] / "docs" / "operations.md"
HEAD = f"""\
# AWS operations that the local cloud serves

This page is generated from botocore {botocore.__version__} and the list of services in
`creeklab/cloud/local_cloud.py`. To update it, run `python -m tests.operations_table`.

A call of any other operation fails with `NotImplementedException`, which names the operation.
"""


def page() -> str:
    """Return the text of the page."""
    with tempfile.TemporaryDirectory() as folder:
        account = LocalCloud(Path(folder), Settings()).accounts.owner
        services = {service.model.name: service for service in account.http_services.values()}
        account.close()
    return "\n".join([HEAD, *(_section(services[name]) for name in sorted(services))])


def _section(service: HttpService) -> str:
    served = service.served()
    unserved = len(service.model.operations) - len(served)
    rows = [f"| `{name}` | `{_module(served[name])}` |" for name in sorted(served)]
    return "\n".join(
        [
            f"## {service.model.full_name} (`{service.model.name}`)",
            "",
            f"{len(served)} operations are served, {unserved} are not.",
            "",
            "| Operation | Module |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _module(method: object) -> str:
    module = inspect.getmodule(method)
    assert module is not None
    return module.__name__.replace(".", "/") + ".py"


if __name__ == "__main__":
    FILE.write_text(page())
