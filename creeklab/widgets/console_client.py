"""The account as the console shows it: plain boto3, so that it is the same on AWS.

Lists come page by page, as the API gives them. What AWS refuses is left to raise, in AWS's own
words; an action that takes several calls undoes nothing if a later one fails, as in AWS's console.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from creeklab.events.metrics import read_metrics
from creeklab.events.table import read_events

if TYPE_CHECKING:
    import pandas as pd

    from creeklab.session.lab_session import LabSession

PAGE = 25
COUNTED = 250
"""So far things are counted; beyond that it says "or more"."""

CHOICES = 100
"""How many certificates or policies a list to choose from has; others are typed."""

ACTIVITY = 12

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list, and the token of the next page if there is one."""

    items: list[Found]
    following: str | None


class ConsoleClient:
    """What the console asks of the account of a lab, and does to it.

    Attributes
    ----------
    local
        Whether it is the local cloud, which keeps counters and a tape.
    endpoint
        Host, and if it is not the usual one port, of HTTPS.
    prefix
        What its ARNs begin with.
    """

    def __init__(self, lab: LabSession) -> None:
        self._lab = lab
        self._iot = lab.client("iot")
        self._data: Any = None
        self.local = lab.target == "local"
        self.name = f"{lab.account}, region {lab.region}"
        self.endpoint = f"{lab.endpoint}:{lab.https_port}" if self.local else lab.endpoint
        self.prefix = f"arn:aws:iot:{lab.region}:{lab.account}"

    # --- lists --------------------------------------------------------------------------------

    def things(self, token: str | None = None) -> Listed:
        """List Things."""
        more = {"nextToken": token} if token else {}
        answer = self._iot.list_things(maxResults=PAGE, **more)
        return Listed(answer["things"], answer.get("nextToken"))

    def certificates(self, token: str | None = None, size: int = PAGE) -> Listed:
        """List certificates, the newest first."""
        more = {"marker": token} if token else {}
        answer = self._iot.list_certificates(pageSize=size, ascendingOrder=False, **more)
        return Listed(answer["certificates"], answer.get("nextMarker"))

    def policies(self, token: str | None = None, size: int = PAGE) -> Listed:
        """List policies."""
        more = {"marker": token} if token else {}
        answer = self._iot.list_policies(pageSize=size, ascendingOrder=True, **more)
        return Listed(answer["policies"], answer.get("nextMarker"))

    def counts(self) -> dict[str, str]:
        """Count Things, certificates and policies, as far as `COUNTED`."""
        answers = {
            "Things": self._iot.list_things(maxResults=COUNTED),
            "Certificates": self._iot.list_certificates(pageSize=COUNTED),
            "Policies": self._iot.list_policies(pageSize=COUNTED),
        }
        return {
            name: f"{len(answer[name.lower()])}"
            + (" or more" if answer.get("nextToken") or answer.get("nextMarker") else "")
            for name, answer in answers.items()
        }

    # --- one of them --------------------------------------------------------------------------

    def thing(self, name: str) -> Found:
        """Return a Thing: ``thingArn``, ``attributes``, ``version``, ..."""
        return dict(self._iot.describe_thing(thingName=name))

    def certificates_of(self, thing: str) -> list[Found]:
        """Return the certificates of a Thing, described."""
        answer = self._iot.list_thing_principals(thingName=thing, maxResults=CHOICES)
        numbers = [arn.rpartition("/")[2] for arn in answer["principals"] if ":cert/" in arn]
        return [self.certificate(number) for number in numbers]

    def certificate(self, number: str) -> Found:
        """Return a certificate: ``certificateArn``, ``status``, ``validity``, ..."""
        answer = self._iot.describe_certificate(certificateId=number)
        return dict(answer["certificateDescription"])

    def things_of(self, certificate: str) -> list[str]:
        """Return the Things that a certificate is attached to, by its ARN."""
        return list(self._iot.list_principal_things(principal=certificate)["things"])

    def policies_of(self, certificate: str) -> list[str]:
        """Return the policies that are attached to a certificate, by its ARN."""
        answer = self._iot.list_attached_policies(target=certificate)
        return [each["policyName"] for each in answer["policies"]]

    def policy(self, name: str) -> Found:
        """Return a policy: ``policyArn``, ``defaultVersionId``, ``policyDocument``."""
        return dict(self._iot.get_policy(policyName=name))

    def versions_of(self, policy: str) -> list[Found]:
        """Return the versions of a policy, the newest first."""
        answer = self._iot.list_policy_versions(policyName=policy)
        found = list(answer["policyVersions"])
        return sorted(found, key=lambda each: -int(each["versionId"]))

    def version(self, policy: str, number: str) -> str:
        """Return the document of one version of a policy."""
        answer = self._iot.get_policy_version(policyName=policy, policyVersionId=number)
        return str(answer["policyDocument"])

    def targets_of(self, policy: str) -> list[str]:
        """Return the ARNs of what a policy is attached to."""
        answer = self._iot.list_targets_for_policy(policyName=policy, pageSize=COUNTED)
        return list(answer["targets"])

    def shadows_of(self, thing: str) -> dict[str, Found]:
        """Return the documents of a Thing's shadows by name; the classic one has none."""
        if self._data is None:
            self._data = self._lab.client("iot-data")
        names = ["", *self._data.list_named_shadows_for_thing(thingName=thing)["results"]]
        found = {}
        for name in names:
            of = {"shadowName": name} if name else {}
            try:
                answer = self._data.get_thing_shadow(thingName=thing, **of)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
                continue
            found[name] = json.loads(answer["payload"].read())
        return found

    def activity_of(self, thing: str) -> pd.DataFrame:
        """Return the last entries of the local cloud's tape about a Thing, the newest first."""
        return read_events(self._lab, thing=thing).tail(ACTIVITY).iloc[::-1]

    def metrics(self) -> pd.DataFrame:
        """Return the local cloud's counters, minute by minute."""
        return read_metrics(self._lab)

    # --- doing ----------------------------------------------------------------------------------

    def create_thing(self, name: str, attributes: dict[str, str]) -> None:
        """Make a Thing."""
        self._iot.create_thing(thingName=name, attributePayload={"attributes": attributes})

    def set_attributes(self, thing: str, attributes: dict[str, str]) -> None:
        """Give a Thing these attributes and no others."""
        self._iot.update_thing(
            thingName=thing, attributePayload={"attributes": attributes, "merge": False}
        )

    def delete_thing(self, name: str) -> None:
        """Delete a Thing; AWS refuses it while a certificate is attached."""
        self._iot.delete_thing(thingName=name)

    def create_certificate(self, thing: str) -> str:
        """Make an active certificate for a Thing, save its key, attach it; return its id.

        The key is in AWS's answer and nowhere else: it is saved first.
        """
        self.thing(thing)
        answer = self._iot.create_keys_and_certificate(setAsActive=True)
        self._lab.keys.save(thing, answer)
        self._iot.attach_thing_principal(thingName=thing, principal=answer["certificateArn"])
        return str(answer["certificateId"])

    def attach_to_thing(self, thing: str, certificate: str) -> None:
        """Attach a certificate, by its id, to a Thing."""
        self._iot.attach_thing_principal(thingName=thing, principal=self.arn(certificate))

    def detach_from_thing(self, thing: str, certificate: str) -> None:
        """Detach a certificate, by its id, from a Thing."""
        self._iot.detach_thing_principal(thingName=thing, principal=self.arn(certificate))

    def set_status(self, certificate: str, status: str) -> None:
        """Activate, deactivate or revoke a certificate."""
        self._iot.update_certificate(certificateId=certificate, newStatus=status)

    def delete_certificate(self, certificate: str) -> None:
        """Delete a certificate; AWS refuses it while it is active or attached to anything."""
        self._iot.delete_certificate(certificateId=certificate)

    def attach_policy(self, policy: str, certificate: str) -> None:
        """Attach a policy to a certificate, by its id."""
        self._iot.attach_policy(policyName=policy, target=self.arn(certificate))

    def detach_policy(self, policy: str, target: str) -> None:
        """Detach a policy from an ARN."""
        self._iot.detach_policy(policyName=policy, target=target)

    def create_policy(self, name: str, document: str) -> None:
        """Make a policy."""
        self._iot.create_policy(policyName=name, policyDocument=document)

    def create_version(self, policy: str, document: str) -> str:
        """Make a version of a policy, the default from now on; return its number."""
        answer = self._iot.create_policy_version(
            policyName=policy, policyDocument=document, setAsDefault=True
        )
        return str(answer["policyVersionId"])

    def set_default(self, policy: str, version: str) -> None:
        """Make a version the one that counts."""
        self._iot.set_default_policy_version(policyName=policy, policyVersionId=version)

    def delete_version(self, policy: str, version: str) -> None:
        """Delete a version; AWS refuses it for the default."""
        self._iot.delete_policy_version(policyName=policy, policyVersionId=version)

    def delete_policy(self, name: str) -> None:
        """Delete a policy; AWS refuses it while it is attached or has other versions."""
        self._iot.delete_policy(policyName=name)

    def arn(self, certificate: str) -> str:
        """Return the ARN of a certificate, by its id."""
        return f"{self.prefix}:cert/{certificate}"
