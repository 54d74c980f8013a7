"""One exception for every refusal of an AWS API, named as AWS names it."""

from __future__ import annotations


class ServiceError(Exception):
    """An error of an AWS API, such as ``ResourceNotFoundException``.

    Parameters
    ----------
    code
        The exception's name in botocore's service model; it decides the HTTP status.
    message
        What the caller reads.
    **members
        Further members of the error shape, such as ``resourceId`` and ``resourceArn``.
    """

    def __init__(self, code: str, message: str, **members: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.members = members
