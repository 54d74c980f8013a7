"""creeklab: learn AWS IoT around one real creek.

``creeklab.open_lab()`` is where a notebook begins. Nothing heavy is imported before that, and
this file stays readable for Pythons too old for the rest, so that they can be told so.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from creeklab.lab.lab import Lab
    from creeklab.lab.open_lab import open_lab

__all__ = ["Lab", "open_lab"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    """Import what is asked for, and no more: `open_lab` imports the rest while the cloud starts."""
    if name == "open_lab":
        from creeklab.lab.open_lab import open_lab

        return open_lab
    if name == "Lab":
        from creeklab.lab.lab import Lab

        return Lab
    raise AttributeError("module 'creeklab' has no attribute '%s'" % name)  # noqa: UP031
