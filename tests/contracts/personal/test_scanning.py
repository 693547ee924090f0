"""What is found in columns, how sure, and what is written into a contract."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from bascule.contracts import Contract
from bascule.contracts.personal import ColumnFinding, scan, tagged
from bascule.contracts.personal.checksums import luhn
from bascule.contracts.personal.scanning import judge
from bascule.errors import BasculeError, InputError, MissingExtra

ROWS = 300


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    opened = duckdb.connect()
    yield opened
    opened.close()


def card(draw: random.Random) -> str:
    body = "4" + "".join(draw.choice("0123456789") for _ in range(14))
    return next(body + one for one in "0123456789" if luhn(body + one))


def table() -> pa.Table:
    draw = random.Random(3)
    days = [date(1950, 1, 1) + timedelta(draw.randint(0, 20_000)) for _ in range(ROWS)]
    return pa.table(
        {
            "contact": [f"user{n}@mail.example" for n in range(ROWS)],
            "payment": [card(draw) for _ in range(ROWS)],
            "payment_number": [int(card(draw)) for _ in range(ROWS)],
            "host": [f"10.0.{n % 200}.{n % 250}" for n in range(ROWS)],
            "device": [f"00:1B:44:11:{n % 256:02X}:{(n * 7) % 256:02X}" for n in range(ROWS)],
            "birthDate": days,
            "ordered": days,
            "first_name": ["Ann"] * ROWS,
            "email_count": list(range(ROWS)),
            "order_id": list(range(10**12, 10**12 + ROWS)),
            "nine": [draw.randint(10**8, 10**9 - 1) for _ in range(ROWS)],
            "amount": [draw.random() for _ in range(ROWS)],
            "note": [f"call +49 30 901820 or write to a{n}@b.example" if n % 9 == 0 else "fine" for n in range(ROWS)],
            "town": ["Berlin"] * ROWS,
            "empty": pa.array([None] * ROWS, pa.string()),
        }
    )


def found(connection: duckdb.DuckDBPyConnection, data: pa.Table) -> dict[str, list[ColumnFinding]]:
    connection.register("t", data)
    columns: dict[str, list[ColumnFinding]] = {}
    for one in scan(connection, "t"):
        columns.setdefault(one.column, []).append(one)
    return columns


def test_columns_and_what_they_hold(connection: duckdb.DuckDBPyConnection) -> None:
    columns = found(connection, table())
    kinds = {name: [one.kind for one in listed] for name, listed in columns.items()}
    email_count = kinds.pop("email_count", None)
    assert email_count in (None, ["email"])
    if email_count:  # its name speaks of it, and says that it is something else
        assert columns["email_count"][0].confidence < 0.7
    assert kinds == {
        "contact": ["email"],
        "payment": ["credit_card"],
        "payment_number": ["credit_card"],
        "host": ["ip_address"],
        "device": ["mac_address"],
        "birthDate": ["date_of_birth"],
        "first_name": ["name"],
        "note": ["email.inside", "phone.inside"],
    }
    (contact,) = columns["contact"]
    assert contact.confidence > 0.95
    assert (contact.evidence[0].matched, contact.evidence[0].looked_at) == (ROWS, ROWS)


def test_few_values_make_less_sure(connection: duckdb.DuckDBPyConnection) -> None:
    many = found(connection, table().select(["contact"]))["contact"][0].confidence
    few = found(connection, table().select(["contact"]).slice(0, 6))["contact"][0].confidence
    assert few < many
    assert not found(connection, table().select(["contact"]).slice(0, 1))


def test_no_value_is_in_a_finding(connection: duckdb.DuckDBPyConnection) -> None:
    said = str([one.as_dict() for listed in found(connection, table()).values() for one in listed])
    assert not re.search(r"@|10\.0\.|00:1B|\+49", said)


def test_a_language_model_that_is_not_there_is_told(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.register("t", table())
    for name in ("spacy", "presidio_analyzer"):
        monkeypatch.setitem(sys.modules, name, None)
    for nlp in ("presidio:en", "en_core_web_sm"):
        with pytest.raises(MissingExtra) as caught:
            scan(connection, "t", nlp=nlp)
        assert caught.value.hint == "Install them with: pip install 'bascule[nlp]'"


TEXTS = ["Ann Quast called again", "the parcel is late", "for Ann Quast, second floor", "from Bob Moss", "none"] * 3


def test_text_is_read_by_a_function_of_ones_own(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    connection.register("t", pa.table({"note": TEXTS, "n": range(15)}))
    (tmp_path / "reading.py").write_text(
        "def people(texts):\n    return [['name'] if 'Quast' in one else [] for one in texts]\n"
        "def few(texts):\n    return []\n"
        "def wrong(texts):\n    return [one.nothing for one in texts]\n"
    )
    (one,) = scan(connection, "t", nlp="reading:people", folder=tmp_path)
    assert (one.column, one.kind) == ("note", "name.inside")
    assert (one.evidence[0].by, one.evidence[0].matched, one.evidence[0].looked_at) == ("language", 6, 15)
    for name, words in (("few", "0 answers for 15 texts"), ("wrong", "AttributeError"), ("poeple", "named .poeple")):
        with pytest.raises(BasculeError, match=words):
            scan(connection, "t", nlp=f"reading:{name}", folder=tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_text_is_read_by_a_pipeline_of_spacy(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """And Presidio is not let fetch a model that is not there."""
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed (pip install 'bascule[nlp]')")
    pipeline = spacy.blank("en")
    names = [{"LOWER": "ann"}, {"LOWER": "quast"}]
    pipeline.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": names}])
    pipeline.to_disk(tmp_path / "names")
    connection.register("t", pa.table({"note": TEXTS}))
    (one,) = scan(connection, "t", nlp="names", folder=tmp_path)
    assert (one.kind, one.evidence[0].matched) == ("name.inside", 6)
    spacy.blank("en").to_disk(tmp_path / "bare")
    for name, words in (("bare", "finds no entities"), ("en_no_such_model", "cannot be loaded")):
        with pytest.raises(InputError, match=words):
            scan(connection, "t", nlp=name, folder=tmp_path)
    with pytest.raises(InputError, match="'de_core_news_lg', which is not installed") as caught:
        scan(connection, "t", nlp="presidio:de")
    assert "spacy download de_core_news_lg" in caught.value.hint


CONTRACT = """\
# who wrote this, and why
apiVersion: v3.1.0
kind: DataContract
id: t
name: t
version: 1.0.0   # the first
status: active
schema:
  - name: t
    properties:
      - name: contact   # where we write to
        logicalType: string
        quality:
          - metric: nullValues
            mustBe: 0
      - {name: payment, logicalType: string}
      - name: host
        tags: [network, "own"]
      - name: device
        classification: secret
        tags:
          - hardware

      # the last one
      - name: town
        logicalType: string
# the end
"""
KINDS = {
    "contact": ["email"],
    "payment": ["credit_card"],
    "host": ["ip_address"],
    "device": ["mac_address"],
    "note": ["email.inside", "phone.inside"],
}


def test_tags_come_into_the_text_and_all_else_stays() -> None:
    written = tagged(CONTRACT, "t", KINDS)
    assert Contract.parse(written, table="t").masked == {"contact", "payment", "host", "device", "note"}
    kept = iter(written.splitlines())
    added = [line for line in written.splitlines() if line not in CONTRACT.splitlines()]
    for line in CONTRACT.splitlines():
        if "payment" not in line and "network" not in line:
            assert any(line == other for other in kept), line
    assert [line for line in added if line != "        classification: pii"] == [
        '        tags: [pii, "pii:email"]',
        '      - {name: payment, logicalType: string, classification: pii, tags: [pii, "pii:credit_card"]}',
        '        tags: [network, "own", pii, "pii:ip_address"]',
        "          - pii",
        '          - "pii:mac_address"',
        '      - {name: note, classification: pii, tags: [pii, "pii:email.inside", "pii:phone.inside"]}',
    ]
    assert "classification: secret" in written
    assert tagged(written, "t", KINDS) == written


def test_a_contract_without_columns_gets_some() -> None:
    bare = CONTRACT[: CONTRACT.index("    properties:")]
    written = tagged(bare, "t", {"contact": ["email"]})
    assert Contract.parse(written, table="t").masked == {"contact"}
    assert written.startswith(bare.rstrip())


def test_a_value_that_is_said_again_counts_again() -> None:
    often = ["a@example.com"] * 30 + ["b@example.org"] * 30 + ["neither"] * 40
    [found] = judge("contact", "string", often)
    assert (found.kind, found.evidence[0].matched, found.evidence[0].looked_at) == ("email", 60, 100)
    inside = ["write to a@example.com"] * 5 + ["nothing"] * 95
    [found] = judge("note", "string", inside)
    assert (found.kind, found.evidence[0].matched, found.evidence[0].looked_at) == ("email.inside", 5, 100)


def test_values_are_read_without_what_is_written_between_their_digits() -> None:
    cards = ["4111 1111 1111 1111", "4111-1111-1111-1111", " 4111111111111111 "] * 20
    [found] = judge("number", "string", cards)
    assert (found.kind, found.evidence[0].matched) == ("credit_card", 60)
