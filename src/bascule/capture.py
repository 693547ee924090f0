"""The modules that work inside a script's own process, found without any room of Bascule.

They need only the standard library: `bascule track` also watches interpreters that have no Bascule. Whether they
come by that way or by an import, they are the same modules under the same names.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

CHILD = Path(__file__).parent / "tracking" / "ambient" / "child"


def module(name: str) -> Any:
    """Return one of the modules, such as `bascule_run`."""
    if name not in sys.modules and str(CHILD) not in sys.path:
        sys.path.append(str(CHILD))
    return importlib.import_module(name)
