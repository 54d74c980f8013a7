"""Make trouble for the local cloud at length, and say what came of it.

The test suite runs a short version of each command.
"""

from __future__ import annotations

import argparse
import sys

from tests.hardening import fuzz, kill, load, recording, soak

COMMANDS = {"kill": kill, "fuzz": fuzz, "soak": soak, "load": load, "recording": recording}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args()
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
