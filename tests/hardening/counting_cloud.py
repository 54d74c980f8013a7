"""Run ``creeklab.cloud`` and report, on a signal, how much of Python's memory is in use.

The memory of a process grows by the MiB, whenever Python asks for more. The number of memory blocks
in use shows growth long before that, and the number of creeklab's own objects does not depend on
the machine at all. This module imports nothing that a cloud does not.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
from collections import Counter
from pathlib import Path

from creeklab.cloud.__main__ import main

COUNTS_FILE = "counts.json"


def _write_counts(home: Path) -> None:
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    objects = Counter(kind.__name__ for kind in kinds if kind.__module__.startswith("creeklab."))
    draft = home / f"{COUNTS_FILE}.new"
    draft.write_text(json.dumps({"blocks": sys.getallocatedblocks(), "objects": objects}))
    draft.replace(home / COUNTS_FILE)


if __name__ == "__main__":
    home = Path(sys.argv[sys.argv.index("--home") + 1])
    signal.signal(signal.SIGUSR1, lambda *_: _write_counts(home))
    sys.exit(main())
