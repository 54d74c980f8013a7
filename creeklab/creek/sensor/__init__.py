"""The Elkhorn's pressure sensor, step by step, and the replay of a recorded creek as a device.

The functions of :mod:`creeklab.creek.sensor.conversion` convert between depth, current, counts and
packets. :class:`Replay` plays a table of readings, one reading after the other.
"""

from creeklab.creek.sensor.replay import Reading, Replay

__all__ = ["Reading", "Replay"]
