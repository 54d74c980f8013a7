"""The Device Shadow of a Thing, through awsiotsdk's shadow service client.

Each call publishes a request on a shadow topic and waits for the answer on ``accepted`` or
``rejected``; the SDK subscribes to those by itself, so the policy has to allow that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from awscrt import mqtt5, mqtt_request_response
from awsiot import V2ServiceException, iotshadow

from creeklab.client.observer import DeviceObserver
from creeklab.client.topics import shadow_topic

RESPONSE_TIMEOUT = 15


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
    """The classic shadow of a Thing, or with ``name`` one of its named shadows."""

    def __init__(
        self, client: mqtt5.Client, thing: str, record: DeviceObserver, advice: Callable[[str], str]
    ) -> None:
        self._thing = thing
        self._record = record
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
        client = self._open()
        self._tell("get", name)
        if name is None:
            request = iotshadow.GetShadowRequest(thing_name=self._thing)
            return self._document(client.get_shadow(request), "Getting the shadow")
        named = iotshadow.GetNamedShadowRequest(thing_name=self._thing, shadow_name=name)
        return self._document(client.get_named_shadow(named), "Getting the shadow")

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
            What the device says it is; a key with None is removed.
        desired
            What it should become.
        version
            Only if the shadow is at this version.

        Raises
        ------
        ShadowRejected
            With code 409 if the version is another one, 400 if the document is not right, ...
        """
        client = self._open()
        members: dict[str, Any] = {
            "thing_name": self._thing,
            "state": iotshadow.ShadowState(desired=desired, reported=reported),
            "version": version,
        }
        self._tell("update", name, {"desired": desired, "reported": reported})
        what = "Updating the shadow"
        if name is None:
            request = iotshadow.UpdateShadowRequest(**members)
            return self._document(client.update_shadow(request), what)
        named = iotshadow.UpdateNamedShadowRequest(shadow_name=name, **members)
        return self._document(client.update_named_shadow(named), what)

    def delete(self, name: str | None = None) -> dict[str, Any]:
        """Delete the shadow; return the version that was deleted.

        Raises
        ------
        ShadowRejected
            With code 404 if there is no such shadow.
        """
        client = self._open()
        self._tell("delete", name)
        what = "Deleting the shadow"
        if name is None:
            request = iotshadow.DeleteShadowRequest(thing_name=self._thing)
            return self._document(client.delete_shadow(request), what)
        named = iotshadow.DeleteNamedShadowRequest(thing_name=self._thing, shadow_name=name)
        return self._document(client.delete_named_shadow(named), what)

    def close(self) -> None:
        """End the SDK's subscriptions for the answers."""
        self._client = None

    def _tell(self, verb: str, name: str | None, state: object = None) -> None:
        """Tell the record what the SDK is about to send, as the local cloud's tape has it.

        It subscribes to ``accepted`` and ``rejected``, or to both with one ``+``, and afterwards
        unsubscribes; its token makes a payload of about 60 bytes more.
        """
        for _ in range(2 if verb == "update" else 1):
            self._record.subscribed()
        size = len(json.dumps({"state": state})) + 60 if state else 60
        self._record.publishes(shadow_topic(self._thing, verb, name), size)

    def _open(self) -> iotshadow.IotShadowClientV2:
        if self._client is None:
            raise RuntimeError("This device is closed. Connect anew with lab.connect.")
        return self._client

    def _document(self, future: Future[Any], what: str) -> dict[str, Any]:
        """Wait for the service's answer and return it as a document, without the SDK's token."""
        try:
            answer = future.result(RESPONSE_TIMEOUT + 5)
        except V2ServiceException as error:
            rejected = error.modeled_error
            if rejected is not None:
                raise ShadowRejected(rejected.code, rejected.message) from None
            advice = self._advice(
                "Does the policy allow to publish the request, and to subscribe to and receive its "
                "accepted and rejected? lab.why() may know."
            )
            raise TimeoutError(f"{what}: no answer came ({error.inner_error}). {advice}") from None
        document: dict[str, Any] = {}
        if getattr(answer, "state", None) is not None:
            document["state"] = _state(answer.state)
        if getattr(answer, "metadata", None) is not None:
            document["metadata"] = _state(answer.metadata)
        document["version"] = answer.version
        document["timestamp"] = int(answer.timestamp.timestamp())
        return document


def _state(state: Any) -> dict[str, Any]:
    sections = ("desired", "reported", "delta")
    return {
        section: getattr(state, section)
        for section in sections
        if getattr(state, section, None) is not None
    }
