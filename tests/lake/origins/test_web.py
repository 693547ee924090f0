"""Files on the web and in object storage: fetched once, going on after a stop; a server fetches nothing inside."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import origins
from bascule.lake.origins import reach, web

Rows = Callable[..., list[tuple[Any, ...]]]
DATA = b"n,word\n" + b"".join(b"%d,w%d\n" % (n, n) for n in range(20_000))


class Site:
    """A web server on loopback: what it holds, what it was asked, and how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/a.csv": DATA}
        self.etag: str | None = '"v1"'
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.cut: list[int] = []  # after how many bytes each of the next answers ends
        self.moved: dict[str, str] = {}
        self.type = "text/csv"
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._go(False)

            def do_GET(self) -> None:
                self._go(True)

            def _go(self, body: bool) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                site.asked.append((self.command, self.path, headers))
                if self.path in site.moved:
                    self.send_response(302)
                    self.send_header("Location", site.moved[self.path])
                    self.end_headers()
                    return
                data = site.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                start = 0
                if "range" in headers and headers.get("if-range") == site.etag:
                    start = int(headers["range"].removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                if site.etag:
                    self.send_header("ETag", site.etag)
                self.send_header("Content-Type", site.type)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                if body:
                    rest = data[start:]
                    self.wfile.write(rest[: site.cut.pop(0)] if site.cut else rest)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_file_is_fetched_once_while_its_etag_stays(
    site: Site, bring: Any, rows: Rows, local_workspace: Workspace
) -> None:
    assert bring(f"{site.url}/a.csv").report.rows == 20_000
    told = local_workspace.history.resolve("main").meta["ingest"][0]
    assert (told["origin"], told["version"], told["file"]) == (f"{site.url}/a.csv", {"etag": '"v1"'}, "a.csv")
    assert local_workspace.history.resolve("main").meta["author"]
    site.asked.clear()
    assert bring(f"{site.url}/a.csv").commit is None
    assert [one[0] for one in site.asked] == ["HEAD"]
    site.etag = '"v2"'  # the same content under another mark
    assert bring(f"{site.url}/a.csv").commit is None
    site.files["/a.csv"] = b"n,word\n1,new\n"
    site.etag = '"v3"'
    assert bring(f"{site.url}/a.csv").report.rows == 1
    assert bring(f"{site.url}/a.csv", mode="replace").report.rows == 1
    assert rows() == [(1, "new")]


@pytest.mark.slow
def test_a_download_goes_on_where_it_stopped(site: Site, bring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.time, "sleep", lambda seconds: None)
    site.cut = [50_000, 60_000]
    assert bring(f"{site.url}/a.csv").report.rows == 20_000
    ranges = [one[2].get("range") for one in site.asked if one[0] == "GET"]
    assert ranges == [None, "bytes=50000-", "bytes=110000-"]


@pytest.mark.slow
def test_a_site_that_dies_leaves_nothing_and_the_next_time_goes_on(
    site: Site, bring: Any, monkeypatch: pytest.MonkeyPatch, local_workspace: Workspace
) -> None:
    monkeypatch.setattr(web.time, "sleep", lambda seconds: None)
    site.cut = [10_000] * web.TRIES
    with pytest.raises(EnvironmentProblem, match="stopped in the middle"):
        bring(f"{site.url}/a.csv")
    assert local_workspace.history.read("main", "tables/t") is None
    site.asked.clear()
    assert bring(f"{site.url}/a.csv").report.rows == 20_000
    assert site.asked[-1][2]["range"] == f"bytes={10_000 * web.TRIES}-"
    assert not list((local_workspace.temporary_folder / "spool").rglob("download*"))


@pytest.mark.slow
def test_a_file_that_came_and_was_refused_does_not_come_again(
    site: Site, bring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["/a.csv"] = DATA + b"1,2,3\n"
    for tolerate in (0.0, 0.00001):
        with pytest.raises(InputError, match=r"this line has 3|cannot be read"):
            bring(f"{site.url}/a.csv", tolerate=tolerate)
    assert [one[2].get("range") for one in site.asked if one[0] == "GET"] == [None, f"bytes={len(DATA) + 5}-"]
    site.etag, site.files["/a.csv"] = '"other"', DATA
    assert bring(f"{site.url}/a.csv").report.rows == 20_000


@pytest.mark.slow
def test_another_file_under_the_name_is_fetched_anew(site: Site, bring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.time, "sleep", lambda seconds: None)
    site.cut = [10_000] * web.TRIES
    with pytest.raises(EnvironmentProblem):
        bring(f"{site.url}/a.csv")
    site.etag, site.files["/a.csv"] = '"other"', b"n,word\n7,x\n"
    assert bring(f"{site.url}/a.csv").report.rows == 1


@pytest.mark.slow
def test_what_a_site_refuses_is_told(site: Site, bring: Any) -> None:
    with pytest.raises(NotFound, match=r"none\.csv"):
        bring(f"{site.url}/none.csv")
    site.files["/data"] = b"n\n1\n"
    assert bring(f"{site.url}/data", table="u").report.rows == 1  # its type says what it is
    site.type = "text/html"
    site.etag = '"w"'
    with pytest.raises(InputError, match="says not what it is"):
        bring(f"{site.url}/data", table="v")
    with pytest.raises(EnvironmentProblem, match="does not answer"):
        bring("http://127.0.0.1:1/a.csv")
    with pytest.raises(NotFound, match="no kind of source named 'ftp'"):
        bring("ftp://127.0.0.1/a.csv")


@pytest.mark.slow
def test_secrets_are_sent_to_their_host_only_and_never_written(
    site: Site, bring: Any, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Site()
    thread = threading.Thread(target=other.server.serve_forever, daemon=True)
    thread.start()
    try:
        monkeypatch.setenv("TOKEN", "s3cret")
        site.moved = {"/a.csv": f"{other.url}/a.csv"}
        bring(f"{site.url}/a.csv".replace("http://", "http://ana:pass@"), more={"authorization": "Bearer ${TOKEN}"})
        assert site.asked[0][2]["authorization"] == "Bearer s3cret"
        assert "authorization" not in other.asked[0][2]
        commit = str(local_workspace.history.resolve("main").meta)
        assert "s3cret" not in commit
        assert "pass" not in commit
    finally:
        other.server.shutdown()
        other.server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/a.csv",
        "http://localhost/a.csv",
        "http://[::1]/a.csv",
        "http://[::ffff:127.0.0.1]/a.csv",
        "http://[::127.0.0.1]/a.csv",
        "http://[64:ff9b::a9fe:a9fe]/latest/meta-data",
        "http://[64:ff9b:1::a00:1]/a.csv",
        "http://[fec0::1]/a.csv",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/a.csv",
        "http://0.0.0.0/a.csv",
        "http://2130706433/a.csv",
    ],
)
def test_a_server_fetches_nothing_of_its_own_network(bring: Any, address: str) -> None:
    with pytest.raises((InputError, EnvironmentProblem)) as refused:
        bring(address, confined=True)
    assert "own network" in refused.value.message or "is not known" in refused.value.message


def test_public_addresses_are_known_in_each_way_of_writing_them() -> None:
    for address in ("1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"):
        assert reach.public(address, 443) == address


@pytest.mark.slow
def test_a_server_follows_no_way_into_its_own_network(site: Site, bring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    port = site.server.server_address[1]
    real = reach.public
    monkeypatch.setattr(reach, "public", lambda host, number: "127.0.0.1" if host == "data.org" else real(host, number))
    assert bring(f"http://data.org:{port}/a.csv", confined=True).report.rows == 20_000
    site.moved = {"/b.csv": f"{site.url}/a.csv"}
    with pytest.raises(InputError, match="own network"):
        bring(f"http://data.org:{port}/b.csv", confined=True)


@pytest.mark.parametrize("address", ["a.csv", "sqlite:///x.db", "s3://lake/a.csv", "python://os:getcwd"])
def test_a_server_takes_web_addresses_only(bring: Any, tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="only from http and https"):
        bring(address, confined=True)


@pytest.mark.slow
def test_objects_by_pattern_are_fetched_when_they_change(
    s3: str, bring: Any, rows: Rows, local_workspace: Workspace, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=s3_server)
    prefix = s3.removeprefix("s3://lake/").partition("?")[0]
    address = s3.replace("?", "/day=*/*.csv.gz?")
    with pytest.raises(NotFound, match="no object named"):
        bring(address)
    for day in (1, 2):
        client.put_object(Bucket="lake", Key=f"{prefix}/day={day}/a.csv.gz", Body=gzip.compress(b"n\n%d\n" % day))
    assert bring(address).report.rows == 2
    told = local_workspace.history.resolve("main").meta["ingest"]
    assert all(len(one["version"]["etag"]) == 32 for one in told)
    assert bring(address).commit is None
    client.put_object(Bucket="lake", Key=f"{prefix}/day=3/a.csv.gz", Body=gzip.compress(b"n\n3\n"))
    batch = bring(address)
    assert (batch.report.rows, len(batch.report.files)) == (1, 1)
    assert rows() == [(1,), (2,), (3,)]
    one = s3.replace("?", "/day=1/a.csv.gz?")
    assert bring(one, table="u").report.rows == 1
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)  # goes first, as in other tools
    assert bring(one.partition("?")[0], table="v").report.rows == 1


@pytest.mark.slow
def test_a_fetch_from_storage_goes_on_where_it_stopped(
    s3: str, bring: Any, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    from bascule.lake.origins import buckets

    class Killed(BaseException):
        pass

    client = boto3.client("s3", endpoint_url=s3_server)
    key = s3.removeprefix("s3://lake/").partition("?")[0] + "/a.csv"
    client.put_object(Bucket="lake", Key=key, Body=DATA)
    monkeypatch.setattr(buckets, "CHUNK", 50_000)

    def dies(number: int) -> None:
        raise Killed

    monkeypatch.setattr(buckets.os, "fsync", dies)
    address = s3.replace("?", "/a.csv?")
    with pytest.raises(Killed):
        bring(address)
    monkeypatch.undo()
    client.put_object(Bucket="lake", Key=key, Body=DATA + b"1,2,3\n")
    with pytest.raises(InputError, match=r"this line has 3|cannot be read"):
        bring(address, tolerate=1e-5)
    monkeypatch.setattr(buckets, "CHUNK", None)  # one that came and was refused is not read again
    assert bring(address, tolerate=0.1).report.rows == 20_000


def test_an_address_is_told_without_its_secrets() -> None:
    assert origins.plain("postgresql://ana:pw@db:5432/shop?sslmode=require&password=x") == (
        "postgresql://db:5432/shop?sslmode=require"
    )
    assert origins.plain("s3://key:secret@lake/a.csv?region=eu") == "s3://lake/a.csv?region=eu"
    assert origins.plain("sqlite:///shop.db") == "sqlite:///shop.db"
    assert origins.plain("data/a.csv") == "data/a.csv"
