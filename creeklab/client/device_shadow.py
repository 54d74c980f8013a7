"""The Device Shadow of a Thing, through awsiotsdk's shadow service client.

Each call publishes a request on a shadow topic and waits for the answer on ``accepted`` or
``rejected``. The SDK subscribes to those topics by itself, so the policy must allow it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from awscrt import mqtt5, mqtt_request_response
from awsiot import V2ServiceException, iotshadow

from creeklab.client.observer import DeviceObserver
from creeklab.client.topics import shadow_topic

RESPONSE_TIMEOUT = 15

_PARTICIPLES = {"get": "Getting", "update": "Updating", "delete": "Deleting"}


class ShadowRejected(Exception):
    """The Device Shadow service rejected a request.

    Attributes
    ----------
    code
        404 if there is no such shadow, 409 for a version conflict, 400 for a bad document, ...
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


class DeviceShadow:
    """The classic shadow of a Thing or, with ``name``, one of its named shadows."""

    def __init__(
        self,
        client: mqtt5.Client,
        thing: str,
        observer: DeviceObserver,
        advice: Callable[[str], str],
    ) -> None:
        self._thing = thing
        self._observer = observer
        self._advice = advice
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=8,
            max_streaming_subscriptions=2,
            operation_timeout_in_seconds=RESPONSE_TIMEOUT,
        )
        self._client: iotshadow.IotShadowClientV2 | None = iotshadow.IotShadowClientV2(
            client, options
        )

    def get(self, name: str | None = None) -> dict[str, Any]:
        """Return the shadow's document: ``state``, ``metadata``, ``version``, ``timestamp``.

        Raises
        ------
        ShadowRejected
            With code 404 if there is no such shadow yet.
        """
        return self._request("get", name)

    def update(
        self,
        *,
        reported: dict[str, Any] | None = None,
        desired: dict[str, Any] | None = None,
        version: int | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Update the shadow; return what the service accepted.

        Parameters
        ----------
        reported
            The state that the device reports; a key whose value is None is removed.
        desired
            The state that the device should reach.
        version
            Update only if the shadow is at this version.

        Raises
        ------
        ShadowRejected
            With code 409 if the shadow is at another version, 400 if the document is invalid, ...
        """
        state = iotshadow.ShadowState(desired=desired, reported=reported)
        return self._request("update", name, state=state, version=version)

    def delete(self, name: str | None = None) -> dict[str, Any]:
        """Delete the shadow; return the version that was deleted.

        Raises
        ------
        ShadowRejected
            With code 404 if there is no such shadow.
        """
        return self._request("delete", name)

    def close(self) -> None:
        """End the SDK's subscriptions to the answers."""
        self._client = None

    def _request(self, operation: str, name: str | None, **members: Any) -> dict[str, Any]:
        """Send a request and return the answer as a document, without the SDK's token."""
        if self._client is None:
            raise RuntimeError("This device is closed. Connect again with lab.connect.")
        members["thing_name"] = self._thing
        named = "" if name is None else "Named"
        if name is not None:
            members["shadow_name"] = name
        request = getattr(iotshadow, f"{operation.title()}{named}ShadowRequest")(**members)
        send = getattr(self._client, f"{operation}_{named.lower()}{'_' if named else ''}shadow")
        self._observe(operation, name, members.get("state"))
        try:
            answer = send(request).result(RESPONSE_TIMEOUT + 5)
        except V2ServiceException as error:
            rejected = error.modeled_error
            if rejected is not None:
                raise ShadowRejected(rejected.code, rejected.message) from None
            advice = self._advice(
                "Check that the policy allows publishing the request, and subscribing to and "
                "receiving its accepted and rejected topics. lab.why() may explain it."
            )
            raise TimeoutError(
                f"{_PARTICIPLES[operation]} the shadow timed out: no answer ({error.inner_error})."
                f" {advice}"
            ) from None
        document: dict[str, Any] = {}
        if getattr(answer, "state", None) is not None:
            document["state"] = _state(answer.state)
        if getattr(answer, "metadata", None) is not None:
            document["metadata"] = _state(answer.metadata)
        document["version"] = answer.version
        document["timestamp"] = int(answer.timestamp.timestamp())
        return document

    def _observe(self, operation: str, name: str | None, state: Any) -> None:
        """Report to the observer what the SDK sends, as the local cloud's event log shows it.

        The SDK subscribes to ``accepted`` and ``rejected``, or to both with one ``+``, and
        unsubscribes afterward; its token adds about 60 bytes to the payload.
        """
        for _ in range(2 if operation == "update" else 1):
            self._observer.subscribed()
        size = 60
        if state is not None:
            sections = {"desired": state.desired, "reported": state.reported}
            size += len(json.dumps({"state": sections}))
        self._observer.publishes(shadow_topic(self._thing, operation, name), size)


def _state(state: Any) -> dict[str, Any]:
    sections = ("desired", "reported", "delta")
    return {
        section: getattr(state, section)
        for section in sections
        if getattr(state, section, None) is not None
    }
