"""Artifacts in parts, and addresses that carry their own permission: a signature over what for, and until when.

Clients send parts and fetch ranges with no credentials of their own; whoever has such an address may use it, for that
one part or file, until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from bascule.errors import InputError
from bascule.protocols import mlflow
from bascule.protocols.mlflow import Ask, Fields
from bascule.server.answers import Refused
from bascule.server.dispatch import read_body
from bascule.tracking.artifacts import confined
from bascule.tracking.uploads import Uploads

MAX_BODY = 4 << 20  # names all parts of an upload
UPLOAD_S, DOWNLOAD_S = 24 * 3600, 3600
PART = re.compile(r"^part/([0-9a-f]{32})/(\d{1,5})$")
BASE = "/api/2.0/mlflow-artifacts"


class Signer:
    """Signs addresses, and tells whether one was signed here.

    Args:
        secret: the workspace's; all its servers share it.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"artifact addresses", "sha256")

    def signed(self, what: str, seconds: int) -> str:
        """Return the query that permits something for some time."""
        until = int(time.time()) + seconds
        return f"expires={until}&signature={self._signature(what, until)}"

    def check(self, what: str, told: Fields) -> None:
        """Refuse an address that was not signed for this, or whose time is over.

        Raises:
            Refused: 403.
        """
        until, given = told.text("expires"), told.text("signature")
        good = until.isdecimal() and len(until) < 12 and int(until) >= time.time()
        if not good or not hmac.compare_digest(self._signature(what, int(until)), given):
            raise Refused(
                403, InputError("This address is not signed for this, or is too old.", hint="Ask for a new one.")
            )

    def _signature(self, what: str, until: int) -> str:
        return hmac.new(self._key, f"{what}\n{until}".encode(), hashlib.sha256).hexdigest()


async def in_parts(request: Request, ask: Ask, uploads: Uploads, signer: Signer, below: str, path: str) -> Response:
    """Answer `mpu/create`, `complete` and `abort`: who asks may write.

    Args:
        below: what stands before the API's path, such as `/branch/dev`.
    """
    action, _, folder = path.partition("/")
    if request.method != "POST" or action not in ("create", "complete", "abort"):
        raise Refused(404, InputError(f"There is nothing at mpu/{path[:80]}.", hint="POST create, complete or abort."))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(400, InputError("Content-Type must be application/json.", hint="Set it."))
    told = Fields(mlflow.read_body(await read_body(request, MAX_BODY)))
    # Clients before 3.18 send the whole path that the file has on their machine.
    name = re.split(r"[/\\]", told.text("path", required=True))[-1]
    target = confined(f"{confined(folder)}/{confined(name)}".lstrip("/"))
    if mlflow.is_exported(target):
        raise Refused(403, InputError("Registered models are read here, not written.", hint="Register another one."))
    if action == "create":
        count = told.integer("num_parts", 1)
        upload = await run_in_threadpool(uploads.begin, target, count)
        origin = f"{request.url.scheme}://{request.url.netloc}{below}{BASE}"
        parts = [
            {
                "url": f"{origin}/mpu/part/{upload}/{n}?{signer.signed(f'PUT {upload} {n}', UPLOAD_S)}",
                "part_number": n,
                "headers": {},
            }
            for n in range(1, count + 1)
        ]
        return _json({"upload_id": upload, "credentials": parts})
    if action == "abort":
        await run_in_threadpool(uploads.abort, told.text("upload_id", required=True))
        return _json({})
    marks = {one.integer("part_number", least=1): one.text("etag") for one in told.objects("parts")}
    await run_in_threadpool(uploads.complete, told.text("upload_id", required=True), target, marks)
    return _json({})


async def one_part(
    request: Request, told: Fields, uploads: Uploads, signer: Signer, upload: str, part: int
) -> Response:
    """Keep one part; the address permits it."""
    signer.check(f"PUT {upload} {part}", told)
    if request.method != "PUT":
        raise Refused(405, InputError("A part is sent with PUT.", hint="Repeat it so."))

    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            yield chunk

    mark = await uploads.put(upload, part, chunks())
    return Response(b"", headers={"etag": f'"{mark}"'})


def address_for(request: Request, signer: Signer, below: str, path: str, size: int) -> Response:
    """Answer with an address at which anybody may read one file for an hour, in ranges too."""
    clean = confined(path)
    where = f"{request.url.scheme}://{request.url.netloc}{below}{BASE}/signed/{quote(clean)}"
    url = f"{where}?{signer.signed(f'GET {clean}', DOWNLOAD_S)}"
    return _json({"url": url, "headers": {}, "file_size": size})


def range_of(header: str, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte that a `Range` header asks for; None when all is asked for, or many ranges.

    Raises:
        Refused: 416, the file does not reach that far.
    """
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", header)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, last = max(size - int(found[2]), 0), size - 1
    else:
        first, last = int(found[1]), min(int(found[2]), size - 1) if found[2] else size - 1
    if found[1] and found[2] and int(found[2]) < int(found[1]):
        return None
    if first >= size or first > last:
        error = InputError(
            f"The file has {size:,} bytes; the range {header[:60]!r} is beyond them.", hint="Ask for less."
        )
        raise Refused(416, error, {"content-range": f"bytes */{size}"})
    return first, last


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
