"""Mosquitto as a peer, with mutual TLS and the same kind of certificates."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from creeklab.client.device import Device
from creeklab.client.key_files import ThingFiles
from creeklab.cloud.security.ca import CertificateAuthority

START_SECONDS = 10.0


def program() -> str | None:
    """Return the path of mosquitto, which Debian installs in a folder for administrators."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


@dataclass(frozen=True)
class Mosquitto:
    """A running mosquitto."""

    pid: int
    port: int
    files: ThingFiles

    def connect(self) -> Device:
        return Device(
            "peer",
            self.files,
            endpoint="localhost",
            port=self.port,
            client_id="peer",
        )


@contextlib.contextmanager
def running(folder: Path, access_rules: str = "") -> Iterator[Mosquitto]:
    """Run mosquitto with its default settings except ports, certificates and messages in flight.

    Parameters
    ----------
    access_rules
        Contents of an ACL file. Without one, every client may do everything.
    """
    path = program()
    assert path is not None
    authority = CertificateAuthority(folder / "ca")
    issued = authority.issue_keys_and_certificate()
    files = ThingFiles(folder, authority.ca_file)
    files.certificate.write_bytes(issued.certificate.public_bytes(Encoding.PEM))
    files.private_key.write_text(issued.private_key)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rules = folder / "mosquitto.acl"
    rules.write_text(access_rules)
    rules.chmod(0o600)
    configuration = folder / "mosquitto.conf"
    configuration.write_text(
        f"user {getpass.getuser()}\n"
        f"listener {port} localhost\n"
        f"certfile {folder}/ca/server.pem\n"
        f"keyfile {folder}/ca/server.pem\n"
        f"cafile {folder}/ca/devices.pem\n"
        "require_certificate true\n"
        "allow_anonymous true\n"
        # As many as AWS IoT Core has in flight; the default is 20.
        "max_inflight_messages 100\n"
        # It acknowledges before it delivers, and drops messages for a slow subscriber.
        "max_queued_messages 0\n"
        "log_type error\n" + (f"acl_file {rules}\n" if access_rules else "")
    )
    # It logs a warning when it runs as root, as in containers.
    with subprocess.Popen([path, "-c", configuration], stderr=subprocess.DEVNULL) as child:
        try:
            _wait_for(port)
            yield Mosquitto(child.pid, port, files)
        finally:
            child.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("localhost", port), timeout=START_SECONDS).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
