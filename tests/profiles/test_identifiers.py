"""What looks like personal data, and what only resembles it."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from bascule.contracts.personal import scan
from bascule.profiles import suspect

IBANS = ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "FR1420041010050500013M02606"] * 2
PHONES = ["+49 30 901820", "+1 (212) 736-5000", "+44 20 7946 0958", "+33 1 42 68 53 00", "+39 06 69821", "+43 1 4000"]


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("a", [f"user{k}@mail.example.org" for k in range(10)], "email"),
        ("a", IBANS, "bank account"),
        ("a", ["4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009"] * 2, "card number"),
        ("a", ["123-45-6789", "078-05-1120", "219-09-9999", "457-55-5462", "001-01-0001"], "national id"),
        ("a", ["10.0.0.1", "192.168.2.7", "2001:db8::1", "8.8.8.8", "fe80::1"], "IP address"),
        ("a", ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5f"] * 3, "MAC address"),
        ("a", PHONES, "phone"),
        ("customer_name", ["Ada Lovelace", "Alan Turing"], "person name"),
        ("lastName", ["Hopper"], "person name"),
        ("home_address", ["1 Main Street"], "address"),
        ("date_of_birth", [], "birth date"),
    ],
)
def test_what_is_personal(name: str, values: list[str], kind: str) -> None:
    found = suspect(name, values, "date" if kind == "birth date" else "string")
    assert found is not None
    assert found.kind == kind
    assert found.why


@pytest.mark.parametrize(
    ("name", "values", "family"),
    [
        ("at", ["2026-01-02", "2026-02-03", "2026-03-04", "2026-04-05", "2026-05-06"], "string"),
        ("day", ["01.02.2026", "02.03.2026", "03.04.2026", "11.12.2026", "24.12.2026"], "string"),
        ("version", ["1.2.3", "1.10.0", "2.0.1", "0.9.9", "3.1.4"], "string"),
        ("amount", ["1234.50", "99.95", "10.00", "1.5", "7"], "string"),
        ("ms", [str(1_700_000_000_000 + k * 977) for k in range(50)], "integer"),
        ("parcel", [str(4_000_000_000_000_000 + k) for k in range(50)], "integer"),
        ("filename", ["a.csv", "b.csv"], "string"),
        ("name", ["widget", "gadget"], "string"),
        ("note", ["mail me at a@b.org or not", "thanks", "fine", "ok", "late"], "string"),
        ("user_name_count", ["1", "2"], "number"),
    ],
)
def test_what_is_not(name: str, values: list[str], family: str) -> None:
    assert suspect(name, values, family) is None


def test_a_profile_and_a_scan_find_the_same() -> None:
    connection = duckdb.connect()
    values = [f"user{k}@mail.example.org" for k in range(10)]
    connection.register("people", pa.table({"a": values, "note": [f"write to {one}, please" for one in values]}))
    found = scan(connection, "people")
    assert [(one.column, one.kind) for one in found] == [("a", "email"), ("note", "email.inside")]
    told = suspect("note", [f"write to {one}, please" for one in values])
    assert told is not None
    assert (told.kind, told.share) == ("email inside", 1.0)
