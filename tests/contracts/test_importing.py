"""Contracts from other tools' files: what is equal is asked, what is not is told, and nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from bascule.contracts import Contract, run_checks
from bascule.contracts.checks import Holds
from bascule.contracts.exporting import EXPORTS, export_contract
from bascule.contracts.importing import Imported, import_contract
from bascule.contracts.words import expected_text
from bascule.errors import BasculeError, InputError, NotFound, ProjectFileError
from tests.contracts.writing import column, contract_of, ours

ROWS = (
    "(SELECT * FROM (VALUES (1, 'a@b', 5.0, DATE '2026-01-01'), (2, 'c@d', 12.0, NULL), (2, NULL, NULL, NULL)) "
    "AS t(id, mail, size, day))"
)


def brought(document: Any, **options: Any) -> tuple[Imported, Contract]:
    done = import_contract(json.dumps(document), "rows.json", **options)
    return done, Contract.parse(done.text, "rows.yaml")


def asked(contract: Contract) -> dict[str, str]:
    return {
        f"{', '.join(check.columns)} {check.kind}".strip(): expected_text(check, contract) for check in contract.checks
    }


def failing(contract: Contract, connection: duckdb.DuckDBPyConnection) -> set[str]:
    report = run_checks(connection, ROWS, contract)
    return {f"{result.column or ''} {result.kind}".strip() for result in report.problems}


def suite(*expectations: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"name": "s", "expectations": [{"type": kind, "kwargs": kwargs} for kind, kwargs in expectations]}


def test_great_expectations(connection: duckdb.DuckDBPyConnection) -> None:
    done, contract = brought(
        suite(
            ("expect_column_values_to_not_be_null", {"column": "id"}),
            ("expect_column_values_to_not_be_null", {"column": "mail", "mostly": 0.5}),
            ("expect_column_values_to_be_unique", {"column": "id"}),
            ("expect_column_values_to_match_regex", {"column": "mail", "regex": "@"}),
            ("expect_column_values_to_be_between", {"column": "size", "min_value": 0, "max_value": 10}),
            ("expect_column_values_to_be_in_set", {"column": "id", "value_set": [1, 2], "mostly": 0.9}),
            ("expect_column_mean_to_be_between", {"column": "size", "min_value": 100}),
            ("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": 3}),
            ("expect_table_columns_to_match_set", {"column_set": ["id", "mail", "size", "day"]}),
        )
    )
    assert done.form == "great-expectations"
    assert done.left_out == ()
    assert asked(contract)["mail not_null"] == "a value in every row, failing rows at most 50 %"
    assert asked(contract)["id values"] == 'one of 1, 2 where "id" IS NOT NULL, failing rows at most 10 %'
    assert contract.unexpected == "refuse"
    assert failing(contract, connection) == {"id unique", "size range", "size mean"}


def test_what_great_expectations_means_otherwise_is_told() -> None:
    done, contract = brought(
        suite(
            ("expect_column_kl_divergence_to_be_less_than", {"column": "a", "threshold": 0.1}),
            ("expect_column_values_to_be_unique", {"column": "a", "mostly": 0.9}),
            ("expect_compound_columns_to_be_unique", {"column_list": ["a", "b"]}),
            ("expect_column_values_to_match_regex", {"column": "a", "regex": "(?=x)"}),
            ("expect_column_values_to_be_between", {"column": "a", "min_value": 0, "row_condition": "b > 1"}),
            ("expect_column_values_to_be_between", {"column": "a", "min_value": {"$PARAMETER": "x"}}),
            ("expect_table_columns_to_match_ordered_list", {"column_list": ["a", "b"]}),
        )
    )
    assert [one.what for one in done.left_out] == [
        "expect_column_kl_divergence_to_be_less_than",
        "expect_column_values_to_be_unique",
        "expect_compound_columns_to_be_unique",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_between",
        "expect_table_columns_to_match_ordered_list",
    ]
    assert set(asked(contract)) == {"a schema", "b schema", "schema"} or not [
        check for check in contract.checks if check.kind not in ("column", "schema", "columns", "unexpected_columns")
    ]


def test_an_old_suite_and_its_severities() -> None:
    old = {"expectation_type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}}
    document = {
        "expectation_suite_name": "s",
        "expectations": [{**old, "severity": "warning", "meta": {"notes": "Why."}}],
    }
    _, contract = brought(document)
    (check,) = [check for check in contract.checks if check.kind == "not_null"]
    assert (check.severity, check.description) == ("warning", "Why.")


DBT = """
version: 2
models:
  - name: rows
    description: All rows.
    config: {contract: {enforced: true}}
    columns:
      - name: id
        data_type: bigint
        constraints: [{type: not_null}]
        data_tests:
          - unique
          - relationships: {arguments: {to: ref('others'), field: key}}
      - name: mail
        tests:
          - not_null: {config: {severity: warn, where: "id > 1"}}
          - dbt_utils.not_empty_string
      - name: size
        tests:
          - dbt_utils.accepted_range: {min_value: 0, max_value: 10, inclusive: false}
          - accepted_values: {values: [1, 2], quote: false}
          - not_null: {config: {error_if: ">10"}}
          - dbt_utils.expression_is_true: {expression: "> 0"}
          - my_own_test
  - name: other
"""


def test_dbt() -> None:
    done = import_contract(DBT, "schema.yml", table="rows")
    contract = Contract.parse(done.text)
    found = asked(contract)
    assert found["id unique"] == "no two rows alike"
    assert found["id relationship"] == "a row in others (key)"
    assert found["mail not_null"] == "a value in every row where id > 1"
    assert found["mail expression"] == "trim(\"mail\") <> ''"
    assert found["size range"] == "over 0 and under 10"
    assert found["size values"] == "one of 1, 2"
    assert {check.severity for check in contract.checks if check.columns == ("mail",) and check.kind == "not_null"} == {
        "warning"
    }
    assert contract.unexpected == "refuse"
    assert [one.what for one in done.left_out] == ["not_null", "dbt_utils.expression_is_true", "my_own_test"]


def test_a_dbt_file_of_several_models() -> None:
    with pytest.raises(InputError, match="holds 2 tables: rows, other"):
        import_contract(DBT, "schema.yml")
    with pytest.raises(NotFound, match="named 'othr'"):
        import_contract(DBT, "schema.yml", table="othr")


PANDERA = """
schema_type: dataframe
version: 0.35.0
columns:
  id:
    dtype: int64
    nullable: false
    unique: true
    checks:
      greater_than_or_equal_to:
        value: 1
        options: {raise_warning: true, ignore_na: true}
  mail:
    dtype: str
    nullable: true
    checks:
      str_matches: "[a-z]@"
      isin: {value: [a@b, c@d]}
  size:
    dtype: float64
    nullable: true
    unique: true
    coerce: true
    checks:
      - in_range: 1
        check_name: my_check
      - {value: 3, options: {check_name: less_than}}
  maybe:
    dtype: int64
    required: false
checks: null
index: null
strict: true
unique: [id, size]
"""


def test_pandera(connection: duckdb.DuckDBPyConnection) -> None:
    done = import_contract(PANDERA, "rows.yaml")
    contract = Contract.parse(done.text)
    found = asked(contract)
    assert done.form == "pandera"
    assert found["id not_null"] == "a value in every row"
    assert found["id range"] == "at least 1"
    assert found["mail pattern"] == "a match of ^(?:[a-z]@)"
    assert found["size range"] == "under 3"
    assert "mail not_null" not in found
    assert [(one.where, one.what) for one in done.left_out] == [
        ("size", "coerce"),
        ("size", "unique"),
        ("size", "my_check"),
        ("maybe", "required: false"),
        ("id, size", "unique"),
    ]
    assert failing(contract, connection) >= {"id unique", "size range"}


NEWER = """
schema_type: dataframe
api: pandas
columns:
  id:
    dtype: int64
    unique: true
    greater_than_or_equal_to:
      min_value: 1
      raise_warning: true
    isin:
    - 1
    - 2
  size:
    dtype: float64
    nullable: true
    in_range:
      min_value: 0
      max_value: 10
      include_min: true
      include_max: false
  kind:
    dtype: string[python]
    str_length:
      min_value: 1
      max_value: 3
      exact_value: null
    str_startswith: a.
unique:
- id
- kind
"""


def test_pandera_as_it_writes_today() -> None:
    """This text was written by pandera 0.35."""
    done = import_contract(NEWER, "rows.yaml")
    contract = Contract.parse(done.text)
    assert done.left_out == ()
    assert {name: words for name, words in asked(contract).items() if not name.endswith("column")} == {
        "id, kind unique": "no two rows alike",
        "id not_null": "a value in every row",
        "id unique": "no two rows alike",
        "id range": "at least 1",
        "id values": "one of 1, 2",
        "size range": "at least 0 and under 10",
        "kind not_null": "a value in every row",
        "kind length": "length 1 to 3",
        "kind pattern": r"a match of ^a\.",
    }
    assert {check.severity for check in contract.checks if check.kind == "range"} == {"warning", "critical"}


def test_a_json_schema(connection: duckdb.DuckDBPyConnection) -> None:
    done, contract = brought(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "rows",
            "type": "object",
            "required": ["id", "mail"],
            "additionalProperties": False,
            "$defs": {"size": {"type": "number", "exclusiveMaximum": 10}},
            "properties": {
                "id": {"type": "integer", "description": "Who."},
                "mail": {"type": ["string", "null"], "pattern": "@", "maxLength": 9, "format": "email"},
                "size": {"anyOf": [{"$ref": "#/$defs/size"}, {"type": "null"}]},
                "day": {"type": "string", "format": "date"},
                "kind": {"enum": ["a", "b", None]},
                "many": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "either": {"type": ["string", "integer"]},
            },
        }
    )
    found = asked(contract)
    assert found["id not_null"] == "a value in every row"
    assert "mail not_null" not in found
    assert found["size range"] == "under 10"
    assert found["kind values"] == "one of 'a', 'b'"
    assert found["many length"] == "length at least 1"
    assert {one.name: one.family for one in contract.columns}["day"] == "date"
    assert {(one.where, one.what) for one in done.left_out} == {
        ("mail", "format email"),
        ("many", "items"),
        ("either", "type string, integer"),
    }
    assert contract.unexpected == "refuse"
    assert "size range" in failing(contract, connection)


def test_what_a_json_schema_gets_wrong_is_told_and_not_asked() -> None:
    properties = {
        "a": {"type": "string", "pattern": "("},
        "b": {"type": "number", "minimum": "x"},
        "c": {"type": "int"},
    }
    done, contract = brought({"properties": {**properties, "d": 7, "e": True}})
    assert {(one.where, one.what) for one in done.left_out} == {
        ("a", "pattern"),
        ("b", "minimum"),
        ("c", "type int"),
        ("d", "7"),
    }
    assert not [name for name in asked(contract) if name.split()[1] in ("pattern", "range")]


def test_avro() -> None:
    done, contract = brought(
        {
            "type": "record",
            "name": "ns.rows",
            "fields": [
                {"name": "id", "type": "long", "doc": "Who."},
                {"name": "mail", "type": ["null", "string"], "default": None},
                {"name": "day", "type": {"type": "int", "logicalType": "date"}},
                {"name": "kind", "type": {"type": "enum", "name": "k", "symbols": ["A", "B"]}},
                {"name": "raw", "type": "bytes"},
                {"name": "either", "type": ["int", "string"]},
                {"name": "many", "type": {"type": "array", "items": "int"}},
            ],
        }
    )
    found = asked(contract)
    assert contract.table == "rows"
    assert {one.name: one.family for one in contract.columns} == {
        "id": "integer",
        "mail": "string",
        "day": "date",
        "kind": "string",
        "raw": None,
        "either": None,
        "many": "array",
    }
    assert {name for name in found if name.endswith("not_null")} == {
        f"{name} not_null" for name in ("id", "day", "kind", "raw", "either", "many")
    }
    assert found["kind values"] == "one of 'A', 'B'"
    assert [one.where for one in done.left_out] == ["raw", "either", "many"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", ProjectFileError, "empty"),
        ("a: [", ProjectFileError, "Not valid YAML"),
        ("x: 1", InputError, "of no tool that is known"),
        ("[1, 2]", InputError, "holds no keys and values"),
        ('{"expectations": 3}', InputError, "is not as great-expectations writes it"),
        ('{"expectations": [{"type": "expect_column_values_to_be_between", "kwargs": 3}]}', InputError, "is not as"),
        ('{"expectations": [{"type": "a"}, 17]}', InputError, "expectation 2 has no type and kwargs: 17"),
        ('{"properties": {"a": {}}, "required": "a"}', InputError, "`required` is no list of names: 'a'"),
        ('{"type": "record", "fields": [{"type": "int"}]}', InputError, "is not as avro writes it: 'name' is missing"),
        ("models: []", InputError, "no model, source, seed or snapshot"),
        (f"a: &a [{', '.join('1' * 1000)}]\nb: [{', '.join(['*a'] * 220)}]", ProjectFileError, "once its aliases"),
    ],
)
def test_a_bad_file_is_told(text: str, error: type[BasculeError], words: str) -> None:
    with pytest.raises(error, match=words):
        import_contract(text, "rows.json")


def test_hostile_names_stay_text() -> None:
    evil = 'a"; DROP TABLE t; --\n- x: "y'
    _, contract = brought(suite(("expect_column_values_to_not_be_in_set", {"column": evil, "value_set": ["it's"]})))
    assert [one.name for one in contract.columns] == [evil]
    (check,) = [check for check in contract.checks if check.kind == "expression"]
    assert isinstance(check.rule, Holds)
    assert check.rule.sql == '"a""; DROP TABLE t; --\n- x: ""y" NOT IN (\'it\'\'s\')'


FULL = contract_of(
    [
        column("id", logicalType="integer", primaryKey=True),
        column(
            "kind", {"metric": "invalidValues", "arguments": {"validValues": ["a", "b"]}, "mustBe": 0}, required=True
        ),
        column(
            "size", ours("range", minimum=0, exclusiveMaximum=9), ours("mean", between=[1, 2]), logicalType="number"
        ),
        column("text", ours("pattern", pattern="^x"), ours("length", maximum=5), logicalType="string"),
        column("some", ours("not_null", tolerate="5 %"), logicalType="timestamp"),
    ],
    customProperties=[{"property": "unexpectedColumns", "value": "refuse"}],
)


@pytest.mark.parametrize("form", EXPORTS)
def test_what_is_exported_means_the_same_when_it_comes_back(form: str) -> None:
    done = export_contract(FULL, form)
    if form == "odcs":
        assert done.text == FULL.text
        return
    back = import_contract(done.text, "t.json", table="t")
    assert back.left_out == ()
    again = asked(Contract.parse(back.text))
    mine = asked(FULL)
    lost = {f"{one.where} {one.what}" for one in done.left_out}
    for name, words in again.items():
        assert mine.get(name) == words or words == "any type column", name
    for name, words in mine.items():
        subject = name.rpartition(" ")[0] or "t"
        known = again.get(name) == words or f"{subject} {words}" in lost
        assert known or "column" in words, name


def test_the_published_form_is_whole() -> None:
    document = yaml.safe_load(export_contract(FULL, "dbt").text)
    assert document["models"][0]["name"] == "t"
    with pytest.raises(InputError, match="not exported as 'xml'") as error:
        export_contract(FULL, "xml")
    assert "odcs, json-schema" in error.value.hint


def test_a_file_round_trips_untouched(tmp_path: Path) -> None:
    text = (
        "# mine\napiVersion: v3.1.0\nkind: DataContract\nid: t\nprice: {priceAmount: 3}   # odd\nschema:\n  - name: t\n"
    )
    assert export_contract(Contract.parse(text), "odcs").text == text
