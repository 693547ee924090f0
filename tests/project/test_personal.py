"""`bascule pii`: from the scan of a table to masks that hold in `bascule sql`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bascule = Callable[..., Any]


@pytest.fixture
def with_emails(trained: Path) -> Path:
    """The project, whose depots have somebody to write to."""
    file = trained / "data" / "depots.csv"
    head, *lines = file.read_text().splitlines()
    rows = [f"{line},boss{n}@depot.example" for n, line in enumerate(lines)]
    rows += [f"far{n},2001,boss{n}@far.example" for n in range(30)]
    file.write_text("\n".join([f"{head},contact", *rows]) + "\n")
    contract = trained / "contracts" / "depots.yaml"
    contract.write_text(
        "# ours\napiVersion: v3.1.0\nkind: DataContract\nid: d\nname: d\nversion: 1.0.0\nstatus: active\n"
        "schema:\n  - name: depots\n    properties:\n      - name: depot # where\n        logicalType: string\n"
    )
    text = (trained / "bascule.toml").read_text()
    (trained / "bascule.toml").write_text(text + '\n[contract.depots]\nfile = "contracts/depots.yaml"\n')
    return trained


@pytest.mark.slow
def test_from_scan_to_mask(with_emails: Path, bascule: Bascule) -> None:
    assert bascule("ingest", "depots", "data/depots.csv").code == 0
    found = bascule("pii", "scan", "depots", "--json").json()
    assert [(one["column"], one["kind"]) for one in found["findings"]] == [("contact", "email")]
    assert found["written"] == ""
    before = (with_emails / "contracts" / "depots.yaml").read_text()
    said = bascule("pii", "scan", "depots", "--write")
    assert "Tagged contact in contracts/depots.yaml" in said.out
    after = (with_emails / "contracts" / "depots.yaml").read_text()
    assert after.startswith(before.rstrip())
    assert "name: depot # where" in after
    assert bascule("run", "--quiet").code == 0
    masks = bascule("pii", "show", "depots", "--json").json()
    assert masks == [{"table": "depots", "column": "contact", "mask": "hash", "roles": ["reader"]}]
    assert "@" in bascule("sql", "select contact from depots").out
    assert "@" not in bascule("sql", "select contact from depots", "--role", "reader").out


def test_a_role_from_the_environment(trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASCULE_ROLE", "nobody-knows")
    said = bascule("sql", "select 1 as n")
    assert said.code == 2
    assert "nobody-knows" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pii", "scan", "odrers"), "orders"),
        (("pii", "scan", "orders", "--sure", "2"), "between 0 and 1"),
        (("pii", "scan", "orders", "--rows", "0"), "whole number"),
        (("pii", "scan", "weather", "--write"), "bascule contract suggest weather"),
        (("pii", "scan", "orders", "--region", "XX"), "no region"),
        (("pii", "show", "odrers"), "orders"),
    ],
)
def test_mistakes(trained: Path, bascule: Bascule, arguments: tuple[str, ...], words: str) -> None:
    said = bascule(*arguments)
    assert said.code == 2
    assert words in said.err
