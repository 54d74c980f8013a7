"""Run the command line (``python -m creeklab``), or explain that this Python is too old.

Old versions of Python must be able to parse this file and ``__init__.py``, so that they reach the
message below: no f-strings, no ``from __future__ import annotations``.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "creeklab requires Python 3.11 or later, but this is Python %d.%d (%s).\n"  # noqa: UP031
        "Install a newer Python and use it in the command, for example:\n"
        "    python3.11 -m creeklab lab"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )

from creeklab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
