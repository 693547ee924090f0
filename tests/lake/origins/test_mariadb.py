"""MariaDB itself, where it is installed: its types, a cursor, and what it refuses."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import EnvironmentProblem, InputError
from bascule.server.ports import free_port

pymysql = pytest.importorskip("pymysql")
SERVER, INSTALL = (shutil.which(name) or "" for name in ("mariadbd", "mariadb-install-db"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SERVER and INSTALL), reason="MariaDB is not installed (apt-get install mariadb-server)"),
]
SHOP = (
    """create table shop.orders (id bigint primary key, amount decimal(9, 2), at datetime(6), day date, note text,
        flag tinyint(1), big bigint unsigned, share double, kind enum('a', 'b'), took time, raw blob, mail varchar(50))
        character set utf8mb4""",
    """insert into shop.orders select seq, seq + 0.25, timestamp('2025-01-01') + interval seq hour, '2025-01-01',
        if(seq % 2 = 0, 'gerade: ü😀', null), seq % 3 = 0, 9, seq / 4, 'b', '10:00:01', 'x', 'a@x'
        from shop.numbers""",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """A server of its own folder and port: its address, and a way to change the database."""
    folder: Path = tmp_path_factory.mktemp("mariadb")
    data, port = folder / "data", free_port("127.0.0.1")
    common = ["--no-defaults", f"--datadir={data}", "--user=root"]
    subprocess.run(
        [INSTALL, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    serving = subprocess.Popen(
        [SERVER, *common, f"--port={port}", f"--socket={folder}/s.sock", "--bind-address=127.0.0.1", "--skip-log-bin"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        admin = _connected(f"{folder}/s.sock")

        def change(statement: str) -> None:
            with admin.cursor() as cursor:
                cursor.execute(statement)

        change("create database shop")
        change("create user 'ann'@'%' identified by 'p@ss word'")
        change("grant select on shop.* to 'ann'@'%'")
        change("create table shop.numbers (seq int)")
        change(f"insert into shop.numbers values {', '.join(f'({n})' for n in range(1, 2001))}")
        for statement in SHOP:
            change(statement)
        yield f"mysql://ann:p%40ss%20word@127.0.0.1:{port}/shop", change
        admin.close()
    finally:
        serving.terminate()
        serving.wait(30)


def _connected(place: str) -> Any:
    for _ in range(300):
        if Path(place).exists():  # it listens
            return pymysql.connect(unix_socket=place, user="root", autocommit=True, charset="utf8mb4")
        time.sleep(0.1)
    raise AssertionError("MariaDB did not start")


def test_whole_and_beyond_a_cursor(server: Any, bring: Any, rows: Any) -> None:
    address, change = server
    batch = bring(address, more={"table": "orders"}, mode="replace")
    assert batch.report.rows == 2000
    first, second = rows("select * from t order by id limit 2")
    at = dt.datetime(2025, 1, 1, 1)
    assert first == (1, Decimal("1.25"), at, dt.date(2025, 1, 1), None, 0, 9, 0.25, "b", "10:00:01", b"x", "a@x")
    assert second[4] == "gerade: ü😀"
    assert bring(address, more={"table": "orders"}, mode="replace").commit is None
    for cursor in ("id", "at"):
        told: dict[str, Any] = {"query": "select * from orders", "cursor": cursor, "table": f"by_{cursor}"}
        assert bring(address, **told).report.rows >= 2000
        assert bring(address, **told).commit is None
        change("insert into shop.orders (id, at) select max(id) + 1, max(at) + interval 1 microsecond from shop.orders")
        assert bring(address, **told).report.rows == 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select * from ordres", "doesn't exist"),
        ("selct 1", "SQL syntax"),
        ("select nothing from orders", "Unknown column"),
        ("delete from orders", "denied|read only|READ ONLY"),
        ("select 18446744073709551615 as n", "cannot hold 18446744073709551615"),
        ("select 1 as a, 2 as A", "two columns"),
    ],
)
def test_what_is_wrong_is_the_callers(server: Any, bring: Any, query: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        bring(server[0], query=query)


def test_days_that_are_none_are_set_aside_and_bytes_stay_bytes(
    server: Any, bring: Any, rows: Any, quarantine: Any
) -> None:
    change = server[1]
    change("create table shop.days (n int, day date, raw varbinary(9), bits bit(3), took time)")
    change("set sql_mode = ''")
    change(
        "insert into shop.days select seq, '2025-01-01', unhex('ff00'), b'101', '838:59:59' from shop.numbers limit 20"
    )
    change("update shop.days set day = '0000-00-00' where n = 7")
    query = "select * from days order by n"
    with pytest.raises(InputError, match=r"1 of 20 records .*\n.*:7: column 'day'"):
        bring(server[0], query=query)
    bring(server[0], query=query, tolerate=0.1)
    assert rows("select distinct day, raw, bits, typeof(bits), took::interval = interval '838:59:59' from t") == [
        (dt.date(2025, 1, 1), b"\xff\x00", 5, "BIGINT", True)
    ]
    (one,) = quarantine()
    assert (one["line"], one["column"], '"day": "0000-00-00"' in one["raw"]) == (7, "day", True)


def test_a_wrong_password_is_told_without_it(server: Any, bring: Any) -> None:
    with pytest.raises(EnvironmentProblem, match="Access denied") as caught:
        bring(server[0].replace("p%40ss", "secret"), query="select 1")
    assert "secret" not in str(caught.value)
