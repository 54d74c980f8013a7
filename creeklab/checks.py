"""The self-checks that end each step: they say in words what they found, and what to look at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.device import Refused

if TYPE_CHECKING:
    from creeklab.lab import Lab


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found: whether all is right, and a sentence."""

    ok: bool
    found: str

    def __repr__(self) -> str:
        return f"{'OK' if self.ok else 'NOT YET'}: {self.found}"

    def __bool__(self) -> bool:
        return self.ok


class Checks:
    """The checks of one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._iot = lab.client("iot")

    def thing(self, name: str) -> Check:
        """Check that the Thing exists."""
        try:
            thing = self._iot.describe_thing(thingName=name)
        except (ClientError, BotoCoreError) as error:
            return Check(False, f"{_message(error)} Make it with iot.create_thing.")
        return Check(True, f"the Thing '{name}' exists; its ARN is {thing['thingArn']}.")

    def certificate(self, thing: str) -> Check:
        """Check the Thing's certificate: files, key, known, active, attached."""
        try:
            files = self._lab.keys.files(thing)
            files.check()
        except (FileNotFoundError, ValueError) as error:
            return Check(False, str(error))
        try:
            known = self._iot.describe_certificate(certificateId=files.certificate_id)
        except ClientError as error:
            return Check(False, f"AWS does not know the certificate on disk. {_message(error)}")
        status = known["certificateDescription"]["status"]
        if status != "ACTIVE":
            return Check(False, f"the certificate is {status}. Activate it: update_certificate.")
        arn = known["certificateDescription"]["certificateArn"]
        if thing not in self._iot.list_principal_things(principal=arn)["things"]:
            return Check(
                False,
                f"the certificate is not attached to '{thing}'. Attach it: attach_thing_principal.",
            )
        return Check(
            True,
            f"certificate and private key of '{thing}' are on disk and belong together; the "
            "certificate is ACTIVE and attached to the Thing.",
        )

    def policy(self, thing: str, policy: str) -> Check:
        """Check that the policy is attached to the Thing's certificate."""
        certificate = self.certificate(thing)
        if not certificate:
            return certificate
        number = self._lab.keys.files(thing).certificate_id
        known = self._iot.describe_certificate(certificateId=number)["certificateDescription"]
        attached = self._iot.list_attached_policies(target=known["certificateArn"])["policies"]
        names = [each["policyName"] for each in attached]
        if policy not in names:
            has = ", ".join(names) or "none"
            return Check(
                False,
                f"'{policy}' is not attached to the certificate of '{thing}' (attached: {has}). "
                "Attach it: attach_policy.",
            )
        return Check(True, f"'{policy}' is attached to the certificate of '{thing}'.")

    def connection(self, thing: str) -> Check:
        """Check that the Thing can connect with what is on disk.

        A connection that is open under its name is cut by this, as AWS keeps one for a client id;
        the SDK connects it again.
        """
        try:
            self._lab.connect(thing).close()
        except (Refused, FileNotFoundError, TimeoutError, ValueError) as error:
            return Check(False, str(error))
        return Check(True, f"'{thing}' can connect over mutual TLS.")

    def shadow(self, thing: str, **reported: Any) -> Check:
        """Check that the Thing's shadow reports these values."""
        try:
            answer = self._lab.client("iot-data").get_thing_shadow(thingName=thing)
        except (ClientError, BotoCoreError) as error:
            return Check(False, f"{_message(error)} Update it first.")
        has = json.loads(answer["payload"].read())["state"].get("reported", {})
        wrong = [
            f"{name} is {has.get(name, 'missing')}, not {value}"
            for name, value in reported.items()
            if has.get(name) != value
        ]
        if wrong:
            return Check(False, f"the shadow of '{thing}': {'; '.join(wrong)}.")
        if not reported:
            return Check(True, f"'{thing}' has a shadow.")
        values = ", ".join(f"{name} {value}" for name, value in sorted(reported.items()))
        return Check(True, f"the shadow of '{thing}' reports {values}.")

    def equal(self, found: Any, expected: Any) -> Check:
        """Check an answer that was worked out against the one it should be."""
        if found != expected:
            return Check(False, f"{found!r} is not {expected!r}. Go through the steps once more.")
        return Check(True, f"{found!r} is right.")


def _message(error: ClientError | BotoCoreError) -> str:
    said = error.response["Error"]["Message"] if isinstance(error, ClientError) else str(error)
    return " ".join(said.split()).rstrip(".") + "."
