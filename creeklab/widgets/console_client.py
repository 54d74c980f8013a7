"""The account as the console shows it: plain boto3, so that it works the same on AWS.

Lists are read page by page, as the API returns them. The errors of AWS are raised unchanged. If a
later call of a command fails, the earlier calls are not undone, as in the AWS console.
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
MAX_COUNTED = 250
"""Resources are counted up to here; beyond that, the count says "or more"."""

MAX_CHOICES = 100
"""With more certificates or policies than this, the user types the one to choose."""

ACTIVITY = 12

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list, and the token of the next page if there is one."""

    items: list[Answer]
    next_token: str | None


class ConsoleClient:
    """The console's access to the account of a lab.

    Attributes
    ----------
    iot
        The boto3 client.
    local
        Whether it is the local cloud, which keeps metrics and an event log.
    endpoint
        Host of HTTPS, with the port unless it is 443.
    prefix
        The start of the account's ARNs.
    """

    def __init__(self, lab: LabSession) -> None:
        self._lab = lab
        self.iot = lab.client("iot")
        self._data: Any = None
        self.local = lab.target == "local"
        self.name = f"{lab.account}, region {lab.region}"
        self.endpoint = f"{lab.endpoint}:{lab.https_port}" if self.local else lab.endpoint
        self.prefix = f"arn:aws:iot:{lab.region}:{lab.account}"

    # --- lists --------------------------------------------------------------------------------

    def things(self, token: str | None = None) -> ListPage:
        """List Things."""
        more = {"nextToken": token} if token else {}
        answer = self.iot.list_things(maxResults=PAGE, **more)
        return ListPage(answer["things"], answer.get("nextToken"))

    def certificates(self, token: str | None = None, size: int = PAGE) -> ListPage:
        """List certificates, newest first."""
        more = {"marker": token} if token else {}
        answer = self.iot.list_certificates(pageSize=size, ascendingOrder=False, **more)
        return ListPage(answer["certificates"], answer.get("nextMarker"))

    def policies(self, token: str | None = None, size: int = PAGE) -> ListPage:
        """List policies."""
        more = {"marker": token} if token else {}
        answer = self.iot.list_policies(pageSize=size, ascendingOrder=True, **more)
        return ListPage(answer["policies"], answer.get("nextMarker"))

    def counts(self) -> dict[str, str]:
        """Count Things, certificates and policies, up to `MAX_COUNTED` each."""
        answers = {
            "Things": self.iot.list_things(maxResults=MAX_COUNTED),
            "Certificates": self.iot.list_certificates(pageSize=MAX_COUNTED),
            "Policies": self.iot.list_policies(pageSize=MAX_COUNTED),
        }
        return {
            name: f"{len(answer[name.lower()])}"
            + (" or more" if answer.get("nextToken") or answer.get("nextMarker") else "")
            for name, answer in answers.items()
        }

    # --- single resources ---------------------------------------------------------------------

    def thing(self, name: str) -> Answer:
        """Return a Thing: ``thingArn``, ``attributes``, ``version``, ..."""
        return dict(self.iot.describe_thing(thingName=name))

    def certificates_of(self, thing: str) -> list[Answer]:
        """Return the descriptions of the certificates of a Thing."""
        answer = self.iot.list_thing_principals(thingName=thing, maxResults=MAX_CHOICES)
        ids = [arn.rpartition("/")[2] for arn in answer["principals"] if ":cert/" in arn]
        return [self.certificate(each) for each in ids]

    def certificate(self, certificate_id: str) -> Answer:
        """Return a certificate: ``certificateArn``, ``status``, ``validity``, ..."""
        answer = self.iot.describe_certificate(certificateId=certificate_id)
        return dict(answer["certificateDescription"])

    def things_of(self, certificate: str) -> list[str]:
        """Return the Things that a certificate is attached to, from its ARN."""
        return list(self.iot.list_principal_things(principal=certificate)["things"])

    def policies_of(self, certificate: str) -> list[str]:
        """Return the policies attached to a certificate, from its ARN."""
        answer = self.iot.list_attached_policies(target=certificate)
        return [each["policyName"] for each in answer["policies"]]

    def policy(self, name: str) -> Answer:
        """Return a policy: ``policyArn``, ``defaultVersionId``, ``policyDocument``."""
        return dict(self.iot.get_policy(policyName=name))

    def versions_of(self, policy: str) -> list[Answer]:
        """Return the versions of a policy, newest first."""
        answer = self.iot.list_policy_versions(policyName=policy)
        return sorted(answer["policyVersions"], key=lambda each: -int(each["versionId"]))

    def version(self, policy: str, version: str) -> str:
        """Return the document of one version of a policy."""
        answer = self.iot.get_policy_version(policyName=policy, policyVersionId=version)
        return str(answer["policyDocument"])

    def targets_of(self, policy: str) -> list[str]:
        """Return the ARNs of the targets of a policy."""
        answer = self.iot.list_targets_for_policy(policyName=policy, pageSize=MAX_COUNTED)
        return list(answer["targets"])

    def shadows_of(self, thing: str) -> dict[str, Answer]:
        """Return the documents of a Thing's shadows by name; ``""`` is the classic one."""
        if self._data is None:
            self._data = self._lab.client("iot-data")
        names = ["", *self._data.list_named_shadows_for_thing(thingName=thing)["results"]]
        documents = {}
        for name in names:
            named = {"shadowName": name} if name else {}
            try:
                answer = self._data.get_thing_shadow(thingName=thing, **named)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
                continue
            documents[name] = json.loads(answer["payload"].read())
        return documents

    def activity_of(self, thing: str) -> pd.DataFrame:
        """Return the latest events of a Thing in the local cloud's log, newest first."""
        return read_events(self._lab, thing=thing).tail(ACTIVITY).iloc[::-1]

    def metrics(self) -> pd.DataFrame:
        """Return the local cloud's metrics, minute by minute."""
        return read_metrics(self._lab)

    # --- commands -------------------------------------------------------------------------------

    def set_attributes(self, thing: str, attributes: dict[str, str]) -> None:
        """Replace all attributes of a Thing."""
        payload = {"attributes": attributes, "merge": False}
        self.iot.update_thing(thingName=thing, attributePayload=payload)

    def create_certificate(self, thing: str) -> str:
        """Create an active certificate for a Thing, save its key, attach it; return its ID.

        The key is saved first, because AWS never returns it again.
        """
        self.thing(thing)
        answer = self.iot.create_keys_and_certificate(setAsActive=True)
        self._lab.keys.save(thing, answer)
        self.iot.attach_thing_principal(thingName=thing, principal=answer["certificateArn"])
        return str(answer["certificateId"])

    def create_version(self, policy: str, document: str) -> str:
        """Create a version of a policy and make it the default; return its number."""
        answer = self.iot.create_policy_version(
            policyName=policy, policyDocument=document, setAsDefault=True
        )
        return str(answer["policyVersionId"])

    def arn(self, certificate: str) -> str:
        """Return the ARN of a certificate, from its ID."""
        return f"{self.prefix}:cert/{certificate}"
