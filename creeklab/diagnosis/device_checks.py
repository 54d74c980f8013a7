"""The doctor's checks of one device, in the order of its connection."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError
from cryptography.x509 import load_pem_x509_certificate

from creeklab.client.device import RequestRefused
from creeklab.client.key_files import ThingFiles
from creeklab.cloud.transport.listen import PROBE
from creeklab.diagnosis.machine_checks import check_private
from creeklab.diagnosis.probe import Check, CheckFailed
from creeklab.diagnosis.why import why
from creeklab.resources.lookup import is_connected, is_missing, paginate, similar_thing
from creeklab.resources.similar_name import did_you_mean
from creeklab.session.lab_session import LabSession

CONNECT_TIMEOUT = 5.0
HOST_MISMATCH = 62  # X509_V_ERR_HOSTNAME_MISMATCH, and for an address:
ADDRESS_MISMATCH = 64
EXPIRED, NOT_YET = 10, 9
ALPN = "x-amzn-mqtt-ca"


class DeviceChecks:
    """The checks of a Thing's device."""

    def __init__(
        self,
        lab: LabSession,
        thing: str,
        client_id: str,
        publish: tuple[str, ...],
        subscribe: tuple[str, ...],
    ) -> None:
        self._lab = lab
        self._iot = lab.client("iot")
        self._thing = thing
        self._client_id = client_id
        self._publish = publish
        self._subscribe = subscribe

    def all(self) -> Iterator[Check]:
        """Yield the checks, in order."""
        yield Check("files", self.files)
        yield Check("file modes", self.modes, ["files"])
        yield Check("key and certificate", self.pair, ["files"])
        yield Check("server", self.server)
        yield Check("CA and endpoint", self.server_certificate, ["server"])
        yield Check("Thing", self.thing)
        yield Check("certificate known", self.known, ["key and certificate"])
        yield Check("certificate active", self.active, ["certificate known"])
        yield Check("attached to Thing", self.attached, ["certificate known", "Thing"])
        yield Check("policy", self.policy, ["certificate known"])
        yield Check("may connect", self.may_connect, ["policy"])
        for topic in self._publish:
            yield self._topic("PUBLISH", "topic", topic)
        for topic_filter in self._subscribe:
            yield self._topic("SUBSCRIBE", "topicfilter", topic_filter)
        ready = ["files", "key and certificate", "CA and endpoint"]
        yield Check("TLS handshake", self.handshake, ready)
        yield Check(
            "connection",
            self.connection,
            ["TLS handshake", "certificate known", "certificate active", "may connect"],
        )

    # --- files ------------------------------------------------------------------------------------

    @cached_property
    def _files(self) -> ThingFiles:
        return self._lab.keys.files(self._thing)

    def files(self) -> str:
        """Check that certificate, private key and CA file exist."""
        try:
            files = self._files
        except FileNotFoundError:
            raise CheckFailed(
                f"no certificate and private key are saved for '{self._thing}'."
                + did_you_mean(self._thing, self._lab.keys.things()),
                "create them with iot.create_keys_and_certificate, and save the response with "
                "lab.keys.save.",
            ) from None
        except ValueError as error:
            raise CheckFailed(str(error), "use the name of a Thing.") from None
        if not files.ca.exists():
            raise CheckFailed(
                f"the CA file {files.ca} is missing.", "open the lab again: creeklab.open_lab()."
            )
        return "certificate, private key and CA file exist."

    def modes(self) -> str:
        """Check that only the owner can read the private key."""
        if os.name == "nt":
            return "Windows keeps the user's own folder private."
        check_private(self._files.private_key, 0o600)
        check_private(self._files.folder, 0o700)
        return "only you can read the private key."

    def pair(self) -> str:
        """Check that key and certificate can be read, match, and are valid now."""
        try:
            self._files.check()
        except (ValueError, OSError) as error:
            raise CheckFailed(
                str(error), "create a new pair with iot.create_keys_and_certificate, and save it."
            ) from None
        certificate = load_pem_x509_certificate(self._files.certificate.read_bytes())
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise CheckFailed(
                f"the certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}, but this machine's clock says "
                f"{now:%Y-%m-%d}.",
                "set the clock, or create a new pair if the certificate has expired.",
            )
        return "they match, and the certificate is valid now."

    # --- network ----------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return f"{self._lab.endpoint}:{self._lab.mqtt_port}"

    def _dial(self) -> socket.socket:
        address = (self._lab.endpoint, self._lab.mqtt_port)
        return socket.create_connection(address, CONNECT_TIMEOUT)

    def server(self) -> str:
        """Check that the endpoint has an address and can be reached."""
        local = self._lab.target == "local"
        restart = "open the lab again: creeklab.open_lab() starts the cloud."
        fix = restart if local else 'try port 443: open_lab("aws", mqtt_port=443).'
        try:
            self._dial().close()
        except socket.gaierror:
            raise CheckFailed(
                f"the name {self._lab.endpoint} has no address.",
                "check that you are online, and that the endpoint is only a host name.",
            ) from None
        except TimeoutError:
            raise CheckFailed(
                f"{self._address} does not answer: a firewall may block it.", fix
            ) from None
        except OSError as error:
            raise CheckFailed(
                f"{self._address} cannot be reached ({error.strerror}).", fix
            ) from None
        return "can be reached."

    def server_certificate(self) -> str:
        """Check that the CA signed the server's certificate, and that it names the endpoint."""
        ca_file = self._lab.ca_file
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise CheckFailed(
                f"the CA file {ca_file} cannot be read ({error}).", self._ca_advice()
            ) from None
        if self._lab.target == "local":
            context.set_alpn_protocols([PROBE])
        try:
            self._handshake(context)
        except ssl.SSLCertVerificationError as error:
            self._explain(error)
        except OSError as error:
            # The server may reject a client without a certificate, after showing its own.
            if "ALERT" not in (getattr(error, "reason", None) or ""):
                raise CheckFailed(
                    f"{self._address} does not speak TLS ({error}).",
                    "check endpoint and port: another program may be listening there.",
                ) from None
        return "the CA signed the server's certificate, which names the endpoint."

    def _explain(self, error: ssl.SSLCertVerificationError) -> None:
        if error.verify_code in (HOST_MISMATCH, ADDRESS_MISMATCH):
            raise CheckFailed(
                f"the server's certificate does not name {self._lab.endpoint}.",
                "connect to the endpoint from DescribeEndpoint (iot:Data-ATS), not to its address.",
            )
        if error.verify_code in (EXPIRED, NOT_YET):
            raise CheckFailed(
                f"by this machine's clock, the server's certificate is not valid "
                f"({error.verify_message}).",
                "set the clock, preferably with network time (NTP).",
            )
        raise CheckFailed(
            f"the CA did not sign this server's certificate ({error.verify_message}).",
            self._ca_advice(),
        )

    def _ca_advice(self) -> str:
        if self._lab.target == "local":
            return "stop the cloud and open the lab again: the cloud writes its CA file again."
        return "use AmazonRootCA1.pem and the ATS endpoint (its name contains -ats)."

    def _handshake(self, context: ssl.SSLContext) -> None:
        if self._lab.mqtt_port == 443:
            context.set_alpn_protocols([ALPN])
        with self._dial() as plain, context.wrap_socket(plain, server_hostname=self._lab.endpoint):
            pass

    def handshake(self) -> str:
        """Check the TLS handshake with the device's own certificate."""
        context = ssl.create_default_context(cafile=self._files.ca)
        try:
            context.load_cert_chain(self._files.certificate, self._files.private_key)
            self._handshake(context)
        except OSError as error:
            raise CheckFailed(
                f"the TLS handshake with certificate and key fails ({error}).",
                "create a new pair with iot.create_keys_and_certificate, and save it.",
            ) from None
        return "mutual TLS works."

    # --- the account ------------------------------------------------------------------------------

    def thing(self) -> str:
        """Check that the Thing exists."""
        try:
            self._iot.describe_thing(thingName=self._thing)
        except ClientError as error:
            if not is_missing(error):
                raise
            raise CheckFailed(
                f"Thing '{self._thing}' does not exist in this account and region."
                + similar_thing(self._lab.client, self._thing),
                f'iot.create_thing(thingName="{self._thing}")',
            ) from None
        return "it exists."

    @cached_property
    def _known(self) -> dict[str, Any]:
        number = self._files.certificate_id
        answer = self._iot.describe_certificate(certificateId=number)
        known: dict[str, Any] = answer["certificateDescription"]
        return known

    def known(self) -> str:
        """Check that the certificate is registered in this account and region."""
        try:
            assert self._known
        except ClientError as error:
            if not is_missing(error):
                raise
            raise CheckFailed(
                "the certificate on disk is not registered in this account and region.",
                "create a new pair with iot.create_keys_and_certificate and save it, or use the "
                "region in which this one was created.",
            ) from None
        return "it is registered."

    @cached_property
    def _things(self) -> set[str]:
        """The Things that the certificate is attached to."""
        arn = self._known["certificateArn"]
        return set(paginate(self._iot.list_principal_things, "things", principal=arn))

    def active(self) -> str:
        """Check that the certificate is ACTIVE."""
        status, number = self._known["status"], self._known["certificateId"]
        if status != "ACTIVE":
            raise CheckFailed(
                f"the certificate is {status}.",
                f'iot.update_certificate(certificateId="{number}", newStatus="ACTIVE")',
            )
        return "it is ACTIVE."

    def attached(self) -> str:
        """Check that the certificate is attached to the Thing."""
        arn = self._known["certificateArn"]
        if self._thing not in self._things:
            raise CheckFailed(
                f"the certificate is not attached to '{self._thing}', so policy variables such as "
                "${iot:Connection.Thing.ThingName} are empty.",
                f'iot.attach_thing_principal(thingName="{self._thing}", principal="{arn}")',
            )
        return "it is attached."

    # --- policy -----------------------------------------------------------------------------------

    def policy(self) -> str:
        """Check that a policy applies to the certificate, its own or a group's."""
        arn = self._known["certificateArn"]
        # AWS rejects the call for a missing Thing, and a Thing counts only if it is attached.
        of_thing = {"thingName": self._thing} if self._thing in self._things else {}
        effective = self._iot.get_effective_policies(principal=arn, **of_thing)
        names = [each["policyName"] for each in effective["effectivePolicies"]]
        if not names:
            raise CheckFailed(
                "no policy applies to the certificate, so it is not allowed to do anything.",
                f'iot.attach_policy(policyName="...", target="{arn}")',
            )
        return f"{', '.join(sorted(names))} {'applies' if len(names) == 1 else 'apply'}."

    def may_connect(self) -> str:
        """Check that the policies allow this client ID."""
        self._authorize("CONNECT", "client", self._client_id)
        return f"with client ID '{self._client_id}'."

    def _topic(self, action: str, kind: str, topic: str) -> Check:
        def check() -> str:
            self._authorize(action, kind, topic)
            return "allowed."

        return Check(f"may {action.lower()} {topic}", check, ["policy"])

    def _authorize(self, action: str, kind: str, name: str) -> None:
        account = ":".join(self._known["certificateArn"].split(":")[:5])
        resource = f"{account}:{kind}/{name}"
        request = {"actionType": action, "resources": [resource]}
        answer = self._iot.test_authorization(
            principal=self._known["certificateArn"], clientId=self._client_id, authInfos=[request]
        )
        result = answer["authResults"][0]
        if result["authDecision"] == "ALLOWED":
            return
        operation = f"iot:{action.capitalize()}"
        if result["authDecision"] == "EXPLICIT_DENY":
            denied = result["denied"]["explicitDeny"]["policies"]
            names = ", ".join(each["policyName"] for each in denied)
            raise CheckFailed(
                f"a Deny in {names} denies {operation} on {kind}/{name}.",
                f"remove {kind}/{name} from the Deny: a Deny overrides every Allow.",
            )
        raise CheckFailed(
            f"no policy allows {operation} on {kind}/{name}.",
            f"add a statement to a policy of the certificate: Allow {operation} on {resource}",
        )

    # --- the connection ---------------------------------------------------------------------------

    def connection(self) -> str:
        """Connect as the device does, unless it is connected: AWS would disconnect it."""
        if is_connected(self._lab.client, self._client_id):
            return "not tried: a device with this client ID is connected and would be disconnected."
        try:
            self._lab.connect(self._thing, client_id=self._client_id).close()
        except (RequestRefused, TimeoutError, ValueError) as error:
            raise CheckFailed(str(error), self._why()) from None
        return "the device can connect."

    def _why(self) -> str:
        if self._lab.target == "local":
            return why(self._lab, self._client_id).summary
        return (
            "wait a few minutes, until AWS has applied recent changes; then read CloudWatch's log "
            "group AWSIotLogsV2."
        )
