"""Run by another Python, with the DuckDB whose Iceberg extension there is: SQL in, rows out, as JSON lines.

It is given the catalog's address and the refs to attach, each under a name of its own. An error is a line too.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path


def extension(name: str) -> Path:
    """Return the file of an extension that came as a wheel."""
    spec = find_spec(f"duckdb_extension_{name}")
    assert spec is not None
    assert spec.origin is not None
    return next((Path(spec.origin).parent / "extensions").glob(f"v*/{name}.duckdb_extension"))


def main() -> None:
    """Attach, then answer every statement that comes."""
    import duckdb

    address, attached = sys.argv[1], json.loads(sys.argv[2])
    off = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    connection = duckdb.connect(config=off)
    for name in ("avro", "httpfs", "iceberg"):
        connection.execute(f"LOAD '{extension(name)}'")
    for name, ref in attached.items():
        options = f"TYPE ICEBERG, ENDPOINT '{address}', AUTHORIZATION_TYPE 'none'"
        connection.execute(f"ATTACH '{ref}' AS {name} ({options})")
    for line in sys.stdin:
        try:
            found = {"rows": connection.execute(json.loads(line)).fetchall()}
        except Exception as error:  # the other side asks whether it should be one
            found = {"error": str(error)}
        print(json.dumps(found, default=str), flush=True)


if __name__ == "__main__":
    main()
