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

    def things(self, token: str | None) -> ListPage:
        """List Things."""
        more = {"nextToken": token} if token else {}
        answer = self.iot.list_things(maxResults=PAGE, **more)
        return ListPage(answer["things"], answer.get("nextToken"))

    def certificates(self, token: str | None = None, size: int = PAGE) -> ListPage:
        """List certificates, newest first."""
        return self._page("certificates", token, pageSize=size, ascendingOrder=False)

    def policies(self, token: str | None = None, size: int = PAGE) -> ListPage:
        """List policies."""
        return self._page("policies", token, pageSize=size, ascendingOrder=True)

    def _page(self, kind: str, token: str | None, **request: Any) -> ListPage:
        more = {"marker": token} if token else {}
        answer = getattr(self.iot, f"list_{kind}")(**request, **more)
        return ListPage(answer[kind], answer.get("nextMarker"))

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

    def certificates_of(self, thing: str) -> list[Answer]:
        """Return the descriptions of the certificates of a Thing."""
        answer = self.iot.list_thing_principals(thingName=thing, maxResults=MAX_CHOICES)
        ids = [arn.rpartition("/")[2] for arn in answer["principals"] if ":cert/" in arn]
        return [self.certificate(each) for each in ids]

    def certificate(self, certificate_id: str) -> Answer:
        """Return a certificate: ``certificateArn``, ``status``, ``validity``, ..."""
        answer = self.iot.describe_certificate(certificateId=certificate_id)
        return dict(answer["certificateDescription"])

    def versions_of(self, policy: str) -> list[Answer]:
        """Return the versions of a policy, newest first."""
        answer = self.iot.list_policy_versions(policyName=policy)
        return sorted(answer["policyVersions"], key=lambda each: -int(each["versionId"]))

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

    def create_certificate(self, thing: str) -> str:
        """Create an active certificate for a Thing, save its key, attach it; return its ID.

        The key is saved first, because AWS never returns it again.
        """
        self.iot.describe_thing(thingName=thing)
        answer = self.iot.create_keys_and_certificate(setAsActive=True)
        self._lab.keys.save(thing, answer)
        self.iot.attach_thing_principal(thingName=thing, principal=answer["certificateArn"])
        return str(answer["certificateId"])

    def arn(self, certificate: str) -> str:
        """Return the ARN of a certificate, from its ID."""
        return f"{self.prefix}:cert/{certificate}"
