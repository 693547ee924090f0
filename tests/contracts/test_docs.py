from __future__ import annotations

import re
from pathlib import Path

import pytest

from bascule.contracts import Contract
from bascule.contracts.custom import KINDS
from bascule.errors import ProjectFileError

PAGE = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_contract_of_the_page_is_read() -> None:
    contract = Contract.parse(blocks("yaml")[0], "contracts/flights.yaml")
    assert contract.key == ("time_hour", "carrier", "flight")
    assert len(contract.checks) == 14


def test_the_mistake_of_the_page_is_told_like_that() -> None:
    text = blocks("yaml")[0].replace("- name: carrier", "- requird: true\n        name: carrier")
    with pytest.raises(ProjectFileError, match=r"'requird' is not a known key of a property\.$") as caught:
        Contract.parse(text, "contracts/flights.yaml")
    assert caught.value.hint == "Did you mean 'required'?"


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python")[0], "docs/contracts.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "days: all" in printed
    assert "('0', 286)" in printed


def test_every_check_is_on_the_page() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in PAGE] == []
