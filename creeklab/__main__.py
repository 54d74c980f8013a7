"""``python -m creeklab``: says what is missing where Python is too old, else hands over to ``cli``.

This file and ``__init__.py`` keep to what old Pythons can read, so that those get as far as the
sentence below: no f-strings, no ``from __future__ import annotations``.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "creeklab needs Python 3.11 or newer, and this is Python %d.%d (%s).\n"  # noqa: UP031
        "Install a newer Python beside it and name that one in the command, for example:\n"
        "    python3.11 -m creeklab lab"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )

from creeklab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
