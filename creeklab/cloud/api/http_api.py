"""Operations of an AWS service, as the services of this cloud offer and the dispatcher finds them.

boto3 has one client for an AWS service, but several services of this cloud can each implement a
part of its operations. `HttpApi` is one such part, and `HttpService` combines the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from botocore import xform_name

from creeklab.cloud.api.service_model import ServiceModel
from creeklab.cloud.errors import ServiceError

Members = Mapping[str, Any]
DeviceActions = Mapping[str, Callable[[Members], list[tuple[str, str]]]]
"""By operation: what the policies of a device have to allow, as actions with their resources."""

load_model = cache(ServiceModel)
"""The service model of a name, read once for all accounts."""


@dataclass(frozen=True, slots=True)
class HttpApi:
    """Some operations of an AWS service.

    Attributes
    ----------
    model
        botocore's name of the AWS service.
    signed_for
        Names that requests for it are signed for.
    operations
        Object with a method for each operation, named as boto3 names it, plain or async. A method
        takes the members of the request as keyword arguments, returns those of the response, and
        raises `ServiceError` to refuse.
    device_actions
        The operations that devices can call with their certificates, and the policy actions that
        they need.
    """

    model: str
    signed_for: tuple[str, ...]
    operations: object
    device_actions: DeviceActions = field(default_factory=dict)


class HttpService:
    """One AWS service, by botocore's name: its model, and the operations that this cloud has."""

    def __init__(self, name: str, apis: Iterable[HttpApi]) -> None:
        self.model = load_model(name)
        self._apis = tuple(apis)

    def served(self) -> dict[str, Callable[..., Any]]:
        """Return the method of each operation that this cloud has, by the operation's name."""
        found = {name: self._find(name) for name in self.model.operations}
        return {name: method for name, method in found.items() if method is not None}

    def method(self, operation: str) -> Callable[..., Any]:
        """Return the method that carries out an operation.

        Raises
        ------
        ServiceError
            ``NotImplementedException`` if this cloud does not have the operation.
        """
        method = self._find(operation)
        if method is None:
            raise ServiceError(
                "NotImplementedException",
                f"{operation} is an operation of {self.model.full_name} that is not available in "
                "this local cloud. Use it on AWS.",
            )
        return method

    def device_actions(self, operation: str, members: Members) -> list[tuple[str, str]] | None:
        """Return the actions and resources that a device's call needs; None if it cannot call."""
        for api in self._apis:
            if operation in api.device_actions:
                return api.device_actions[operation](members)
        return None

    def _find(self, operation: str) -> Callable[..., Any] | None:
        name = xform_name(operation)
        for api in self._apis:
            method: Callable[..., Any] | None = getattr(api.operations, name, None)
            if method is not None:
                return method
        return None
