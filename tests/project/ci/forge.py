"""A stand-in for a forge's API on this machine: it holds comments, and what GitHub and GitLab refuse, it refuses."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "secret-token-of-the-job"


@dataclass
class Forge:
    """What the forge holds, and what it is asked.

    Attributes:
        kind: github or gitlab.
        comments: number to text, of the pull request 7 of the repository ana/parcels.
        foreign: comments that the token may not change.
        troubles: statuses that are answered before anything is done, with headers, one a request; a status of 599
            means that the thing is done and the answer is lost.
        asked: method and path of every request.
    """

    kind: str = "github"
    comments: dict[int, str] = field(default_factory=dict)
    foreign: set[int] = field(default_factory=set)
    troubles: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def limit(self) -> int:
        return 65_536 if self.kind == "github" else 1_000_000

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> tuple[int, Any, dict[str, str]]:
        self.asked.append((method, url))
        lost = False
        if self.troubles:
            status, more = self.troubles.pop(0)
            if status != 599:
                return status, {"message": "trouble"}, more
            lost = True
        token = headers.get("Authorization") if self.kind == "github" else headers.get("PRIVATE-TOKEN")
        if token not in (f"Bearer {TOKEN}", TOKEN):
            return 401, {"message": "Bad credentials"}, {}
        if self.kind == "github" and not headers.get("User-Agent"):
            return 403, {"message": "a user agent is demanded"}, {}
        found = self._act(method, url, json.loads(body) if body else None)
        return (502, {"message": "lost"}, {}) if lost else found

    def _act(self, method: str, url: str, document: Any) -> tuple[int, Any, dict[str, str]]:
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        if self.kind == "github":
            whole, one = r"/repos/ana/parcels/issues/7/comments", r"/repos/ana/parcels/issues/comments/(\d+)"
        else:
            whole = r"/projects/(?:12|ana/parcels)/merge_requests/7/notes"
            one = whole + r"/(\d+)"
        path = unquote(path.removeprefix("/api"))
        if document is not None:
            text = document.get("body")
            if not isinstance(text, str) or not text.strip():
                return 422, {"message": "body is missing"}, {}
            # Counted in UTF-16, the strictest way.
            if len(text.encode("utf-16-le")) // 2 > self.limit:
                return 422, {"message": f"body is too long (maximum is {self.limit} characters)"}, {}
        if re.fullmatch(whole, path):
            if method == "GET":
                return self._page(int(query.get("page", ["1"])[0]), int(query.get("per_page", ["30"])[0]))
            if method == "POST":
                number = max(self.comments, default=100) + 1
                self.comments[number] = document["body"]
                return 201, self._shown(number), {}
        found = re.fullmatch(one, path)
        if found and int(found[1]) in self.comments and method == ("PATCH" if self.kind == "github" else "PUT"):
            if int(found[1]) in self.foreign:
                return 403, {"message": "not yours"}, {}
            self.comments[int(found[1])] = document["body"]
            return 200, self._shown(int(found[1])), {}
        return 404, {"message": "Not Found"}, {}

    def _page(self, page: int, size: int) -> tuple[int, Any, dict[str, str]]:
        size = min(size, 100)
        numbers = sorted(self.comments)[(page - 1) * size : page * size]
        more = {"X-Next-Page": str(page + 1)} if len(self.comments) > page * size else {"X-Next-Page": ""}
        return 200, [self._shown(number) for number in numbers], more if self.kind == "gitlab" else {}

    def _shown(self, number: int) -> dict[str, Any]:
        return {"id": number, "body": self.comments[number], "html_url": f"https://forge/pull/7#{number}"}


@contextmanager
def running(forge: Forge) -> Iterator[Forge]:
    """Answer for a forge on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document, headers = forge.answer(self.command, self.path, self.headers, body)
            text = json.dumps(document).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = _do

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    forge.url = f"http://127.0.0.1:{server.server_port}/api"
    try:
        yield forge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
