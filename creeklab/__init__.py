"""creeklab: learn AWS IoT with one real creek.

Every notebook starts with ``creeklab.open_lab()``. Nothing heavy is imported before that call. Old
versions of Python must be able to parse this file, so that ``__main__.py`` can report the version.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from creeklab.lab.lab import Lab
    from creeklab.lab.open_lab import open_lab

__all__ = ["Lab", "open_lab"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    """Import only the requested name: `open_lab` imports the rest while the cloud starts."""
    if name == "open_lab":
        from creeklab.lab.open_lab import open_lab

        return open_lab
    if name == "Lab":
        from creeklab.lab.lab import Lab

        return Lab
    raise AttributeError("module 'creeklab' has no attribute '%s'" % name)  # noqa: UP031
