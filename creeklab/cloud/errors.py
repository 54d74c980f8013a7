"""The exception for every error of an AWS API."""

from __future__ import annotations


class ServiceError(Exception):
    """An error of an AWS API, such as ``ResourceNotFoundException``.

    Parameters
    ----------
    code
        Name of the exception in botocore's service model, which defines the HTTP status.
    message
        Text for the caller.
    **members
        Further members of the error shape, such as ``resourceId`` and ``resourceArn``.
    """

    def __init__(self, code: str, message: str, **members: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.members = members
