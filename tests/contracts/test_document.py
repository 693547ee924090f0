from __future__ import annotations

import pytest

from bascule.contracts.document import parse_document
from bascule.errors import ProjectFileError


def value(text: str) -> object:
    return parse_document(f"k: {text}", "f.yaml").require("k").value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2013-01-01", "2013-01-01"),
        ("010", 10),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("-2", -2),
        ("true", True),
        ("'1'", "1"),
        ('"null"', "null"),
        ("1.5.2", "1.5.2"),
        ("1_000", "1_000"),
        (".5", 0.5),
        ("-.inf", float("-inf")),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_every_value_knows_its_line_and_path() -> None:
    root = parse_document("a:\n  - b: 1\n    c:\n      d: x\n", "f.yaml")
    node = root.require("a").items()[0].require("c").require("d")
    assert (node.line, node.path, node.file) == (4, "a[0].c.d", "f.yaml")


def refused(text: str) -> ProjectFileError:
    with pytest.raises(ProjectFileError) as caught:
        parse_document(text, "f.yaml")
    assert caught.value.file == "f.yaml"
    return caught.value


def test_what_is_not_yaml_is_told_with_its_line() -> None:
    assert refused("a: 1\nb: [1, 2\nc: 3\n").line == 3


def test_an_empty_file_is_told() -> None:
    assert "empty" in refused("# nothing\n").message


def test_a_key_that_stands_twice_is_refused() -> None:
    error = refused("a: 1\nb: 2\na: 3\n")
    assert error.line == 3
    assert "'a'" in error.message


def test_object_tags_are_refused() -> None:
    assert "tag" in refused("a: !!python/object/apply:os.system ['true']\n").message


def test_merge_keys_are_refused_rather_than_ignored() -> None:
    assert "<<" in refused("a: &x {b: 1}\nc: {<<: *x}\n").message


@pytest.mark.slow
def test_alias_bombs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "aliases" in refused("\n".join(lines)).message


def test_an_alias_to_itself_is_refused() -> None:
    refused("a: &a [*a]\n")


@pytest.mark.slow
def test_bottomless_nesting_is_refused() -> None:
    assert "deep" in refused("[" * 5000 + "]" * 5000).message
    assert "deep" in refused("[" * 60 + "]" * 60).message


def test_a_huge_document_is_refused() -> None:
    assert "characters" in refused("a: " + "x" * 2_000_001).message


def test_characters_that_yaml_forbids_are_told() -> None:
    assert "Not valid YAML" in refused("a: \x00").message


def test_two_documents_in_one_file_are_refused() -> None:
    assert "Not valid YAML" in refused("a: 1\n---\nb: 2\n").message
