"""A look at a catalog tells whether anybody wrote, whoever it was, and costs no query where nobody did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqlalchemy import insert

from bascule.catalog import Catalog, Changes, schema


def write(catalog: Catalog, key: str) -> None:
    with catalog.write() as conn:
        conn.execute(insert(schema.settings).values(key=key, value="v"))


def test_what_this_and_other_processes_write_changes_the_mark(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    changes = Changes(catalog)
    first = changes.mark()
    assert changes.mark() == first
    write(catalog, "a")
    second = changes.mark()
    assert second != first
    assert changes.mark() == second
    other = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('delete from settings'); c.commit()"
    subprocess.run([sys.executable, "-c", other, tmp_path / "catalog.db"], check=True)
    assert changes.mark() not in (first, second)
    changes.close()
    catalog.close()


def test_a_catalog_that_cannot_be_looked_at_counts_as_changed(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'a' / 'catalog.db'}")
    catalog.close()
    for file in (tmp_path / "a").iterdir():
        if file.is_file():
            file.unlink()
    (tmp_path / "a" / "catalog.db").mkdir()
    changes = Changes(catalog)
    assert changes.mark() != changes.mark()
