"""The device side of AWS IoT: connect as a Thing, publish, subscribe, and use its shadow.

The names below are imported on first use, because awscrt is slow to import and the key files do not
need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from creeklab.client.device import Device as Device
    from creeklab.client.device import RequestRefused as RequestRefused
    from creeklab.client.device_shadow import ShadowRejected as ShadowRejected
    from creeklab.client.key_files import KeyFiles as KeyFiles
    from creeklab.client.key_files import ThingFiles as ThingFiles

_MODULES = {
    "Device": "device",
    "RequestRefused": "device",
    "ShadowRejected": "device_shadow",
    "KeyFiles": "key_files",
    "ThingFiles": "key_files",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'creeklab.client' has no attribute '{name}'")
    return getattr(import_module(f"creeklab.client.{_MODULES[name]}"), name)
