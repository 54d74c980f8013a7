"""The short import form of the device side."""

from __future__ import annotations

import subprocess
import sys

import pytest

import creeklab.client
from creeklab.client import device, device_shadow, key_files


def test_the_package_offers_its_main_names() -> None:
    assert creeklab.client.Device is device.Device
    assert creeklab.client.RequestRefused is device.RequestRefused
    assert creeklab.client.ShadowRejected is device_shadow.ShadowRejected
    assert creeklab.client.KeyFiles is key_files.KeyFiles
    assert creeklab.client.ThingFiles is key_files.ThingFiles
    with pytest.raises(AttributeError, match="has no attribute 'Devices'"):
        _ = creeklab.client.Devices


def test_the_key_files_do_not_import_the_sdk() -> None:
    program = (
        "import sys; from creeklab.client import KeyFiles, ThingFiles; "
        "assert not {'awscrt', 'awsiot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
