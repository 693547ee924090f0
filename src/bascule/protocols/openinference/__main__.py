"""`python -m bascule.protocols.openinference WORKSPACE [HOST] [PORT] [BRANCH]`: the inference process by itself."""

from __future__ import annotations

import sys

from bascule.errors import BasculeError
from bascule.protocols.openinference.worker import run_worker


def main(arguments: list[str]) -> int:
    """Serve, and return the exit code."""
    workspace, host, port, branch = [*arguments, *["", "127.0.0.1", "7401", "main"][len(arguments) :]]
    if not workspace or not port.isdigit():
        print(__doc__, file=sys.stderr)
        return 2
    try:
        run_worker(workspace, host, int(port), branch)
    except BasculeError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
