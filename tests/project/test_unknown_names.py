"""Names that do not exist: each is answered with the kind of thing, the name, and the nearest that does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

MAIN, DELAYS, ORDERS = "Did you mean 'main'?", "Did you mean 'delays'?", "Did you mean 'orders'?"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status", "--branch", "mian"), ("There is no branch named 'mian'", MAIN)),
        (("run", "--branch", "mian"), ("There is no branch named 'mian'", MAIN)),
        (("switch", "mian"), ("There is no branch, tag or commit named 'mian'", MAIN)),
        (("branch", "dev", "--at", "mian"), ("named 'mian'", MAIN)),
        (("branch", "--delete", "mian"), ("There is no branch named 'mian'", MAIN)),
        (("merge", "mian"), ("named 'mian'", MAIN)),
        (("merge", "main", "mian"), ("There is no branch, tag or commit named 'mian'", MAIN)),
        (("diff", "mian"), ("named 'mian'", MAIN)),
        (("revert", "0000000"), ("There is no branch, tag or commit named '0000000'",)),
        (("tag", "v1", "mian"), ("named 'mian'", MAIN)),
        (("models", "delay"), ("There is no model named 'delay'", DELAYS)),
        (("models", "delays", "9"), ("version", "'9'", "Known: 1")),
        (("models", "delays", "prodution"), ("'prodution'", "Did you mean 'production'?")),
        (("deploy", "delays", "9"), ("'9'", "Known: 1")),
        (("deploy", "delays", "--model", "delay"), ("There is no model named 'delay'", DELAYS)),
        (("rollback", "delay"), ("There is no deployment or release named 'delay'", DELAYS)),
        (("rollback", "deployments/delay"), ("There is no deployment named 'delay'", DELAYS)),
        (("monitor", "delay"), ("There is no monitor named 'delay'", DELAYS)),
        (("explain", "0190f3"), ("There is no prediction named '0190f3'",)),
        (("reproduce", "delay"), ("There is no model named 'delay'", DELAYS)),
        (("reproduce", "delays@9"), ("'9'", "Known: 1")),
        (("contract", "test", "odrers"), ("There is no table named 'odrers'", ORDERS)),
        (("contract", "test", "weather"), ("There is no contract named 'weather'", "Known: orders")),
        (("contract", "suggest", "odrers"), ("There is no table named 'odrers'", ORDERS)),
        (("sql", "select * from odrers"), ("There is no table named 'odrers'", ORDERS)),
        (("sql", "select * from orders@mian"), ("'mian'", MAIN)),
        (("forget", "odrers", "order_id=o1"), ("There is no table named 'odrers'", ORDERS)),
        (("forget", "orders", "order=o1"), ("'order'", "Did you mean 'order_id'?")),
        (("forget", "orders"), ("Whom to forget is not said", "bascule forget orders")),
        (("runs", "run_zz"), ("There is no run named 'run_zz'",)),
        (("token", "revoke", "nobody"), ("nobody",)),
        (("plan", "--project", "nowhere"), ("There is no folder ", "nowhere, and so no project")),
        (("status", "--workspace", "nowhere"), ("There is no workspace named", "bascule init")),
    ],
)
def test_an_unknown_name_is_told(
    trained: Path,
    bascule: Callable[..., Any],
    refused: Callable[..., Any],
    arguments: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    assert bascule("deploy", "delays").code == 0
    said = refused(*arguments, code=2, words=words)
    assert said.out == ""
