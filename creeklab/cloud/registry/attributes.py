"""Attributes of a Thing or a thing group: how a request changes them, and how many are allowed.

Source of the quotas: developer guide, "Thing types"; AWS IoT limits, "Thing group attributes".
"""

from __future__ import annotations

from collections.abc import Mapping

from creeklab.cloud.registry.unit_of_work import invalid

PLAIN = ("A thing without a thing type", 3)
TYPED = ("A thing with a thing type", 50)
GROUP = ("A thing group", 50)


def changed(
    present: Mapping[str, str], given: Mapping[str, str] | None, merge: bool
) -> dict[str, str]:
    """Return the attributes after a request, which replaces them or, with `merge`, adds to them.

    None leaves them as they are. An attribute with the value '' is removed.
    """
    if given is None:
        return dict(present)
    merged = {**present, **given} if merge else given
    return {name: value for name, value in merged.items() if value}


def check(attributes: Mapping[str, str], quota: tuple[str, int]) -> None:
    """Raise if there are more attributes than a quota (`PLAIN`, `TYPED` or `GROUP`) allows."""
    what, most = quota
    if len(attributes) > most:
        raise invalid(
            f"{what} can have at most {most} attributes; this one would have {len(attributes)}: "
            f"{', '.join(attributes)}."
        )
