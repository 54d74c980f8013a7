"""A cloud that says how much of Python's memory it has in use: ``creeklab.cloud``, and a signal.

What a process has of the system's memory grows by the MiB, whenever Python asks for more. How many
blocks are in use in there shows growth long before. It imports nothing that a cloud does not.
"""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path

from creeklab.cloud.__main__ import main

SAID = "blocks"


def _say(home: Path) -> None:
    gc.collect()
    draft = home / f"{SAID}.new"
    draft.write_text(str(sys.getallocatedblocks()))
    draft.replace(home / SAID)


if __name__ == "__main__":
    where = Path(sys.argv[sys.argv.index("--home") + 1])
    signal.signal(signal.SIGUSR1, lambda *_: _say(where))
    sys.exit(main())
