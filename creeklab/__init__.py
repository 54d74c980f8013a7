"""creeklab: learn AWS IoT around one real creek.

``creeklab.open_lab()`` is where a notebook begins. Nothing heavy is imported before that, and
this file stays readable for Pythons too old for the rest, so that they can be told so.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from creeklab.lab import Lab, open_lab

__all__ = ["Lab", "open_lab"]


def __getattr__(name):  # type: ignore[no-untyped-def]
    """Import the lab when it is first asked for."""
    if name in __all__:
        from creeklab import lab

        return getattr(lab, name)
    raise AttributeError("module 'creeklab' has no attribute '%s'" % name)  # noqa: UP031
