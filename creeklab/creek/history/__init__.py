"""Record a device's messages in a history of Parquet files, and read it back as a DataFrame.

:class:`History` stores and reads the readings of many Things; :class:`Recorder` turns messages into
readings and adds them to a history.
"""

from creeklab.creek.history.history import AppendResult, History
from creeklab.creek.history.recorder import Recorder

__all__ = ["AppendResult", "History", "Recorder"]
