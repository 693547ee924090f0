"""Files on the web, by HTTP and HTTPS: with the ETag that they had, and going on where a download was cut off."""

from __future__ import annotations

import base64
import http.client
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import msgspec

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.lake.iceberg import files
from bascule.lake.origins import reach
from bascule.lake.origins.local import CONVERTED, readable
from bascule.lake.origins.origin import Asked, Part, refuse_options, resolved
from bascule.lake.sources import discovery
from bascule.sizes import format_size

TRIES = 5
REDIRECTS = 5
CHUNK = 1 << 18
TELL_SECONDS = 2.0
CONFINED_BYTES = 4 << 30
TYPES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.apache.arrow.file": ".arrow",
    "application/vnd.apache.arrow.stream": ".arrow",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/zip": ".zip",
}


class Stopped(Exception):
    """The server stopped before the file had ended."""


class Web:
    """One file at an address. `authorization` is an option; `${NAME}` in it is that environment variable."""

    def versions(self, asked: Asked) -> dict[str, str]:
        """See `Origin`: the ETag, or else when the file was changed and how long it is; empty where none is told."""
        refuse_options(asked, "authorization", "sheet", "encoding")
        with _answer(asked, "HEAD", {}) as answer:
            return _version(_lower(answer)) if answer.status == 200 else {}

    def parts(self, asked: Asked) -> Iterator[Part]:
        """See `Origin`. An answer that ends too early is asked for again, from where it ended."""
        working, note = asked.spool / "download.part", asked.spool / "download.json"
        _take_up(asked.spool / "file", working)
        for attempt in range(TRIES):
            try:
                headers, name = self._fetch(asked, working, note)
                break
            except Stopped as error:
                if attempt == TRIES - 1:
                    raise EnvironmentProblem(
                        f"{asked.shown} stopped in the middle, {TRIES} times: {error}.",
                        hint="Repeat later: it goes on from there.",
                    ) from error
                asked.tell(f"{asked.shown} stopped after {format_size(working.stat().st_size)}; going on from there")
                time.sleep(min(0.1 * 2**attempt, 2.0))
        target = asked.spool / "file" / name
        target.parent.mkdir(exist_ok=True)
        working.replace(target)
        version = _version(headers)
        yield from readable(Part(target, files.digest(target), name, asked.shown, version), asked)

    def _fetch(self, asked: Asked, working: Path, note: Path) -> tuple[Mapping[str, str], str]:
        have = working.stat().st_size if working.exists() and note.exists() else 0
        mark = msgspec.json.decode(note.read_bytes(), type=str) if have else ""
        range_ = {"range": f"bytes={have}-", "if-range": mark} if have and mark else {}
        with _answer(asked, "GET", range_) as answer:
            if answer.status == 416 and have:
                working.unlink()
                raise Stopped("the file is another one now")
            if answer.status not in (200, 206):
                raise _refused(asked, answer)
            if answer.status == 200 or not answer.headers.get("content-range", "").startswith(f"bytes {have}-"):
                have = 0
                working.unlink(missing_ok=True)
            # Only a strong mark says that the bytes are the same ones.
            strong = answer.headers.get("etag", "")
            strong = "" if strong.startswith("W/") else strong or answer.headers.get("last-modified", "")
            note.write_bytes(msgspec.json.encode(strong))
            length = answer.headers.get("content-length")
            _pour(asked, answer, working, have, have + int(length) if length else None)
            return _lower(answer), _name(asked, answer)


def _take_up(folder: Path, working: Path) -> None:
    """Go on with a file that came as a whole and was not taken in: its last byte is asked for again."""
    for whole in folder.glob("*"):
        if not working.exists() and (size := whole.stat().st_size) > 1:
            os.truncate(whole, size - 1)  # cut first, so that nothing takes it for a whole one
            whole.replace(working)
        else:
            whole.unlink()


def _pour(asked: Asked, answer: http.client.HTTPResponse, working: Path, have: int, total: int | None) -> None:
    began = told = time.monotonic()
    done = have
    limit = CONFINED_BYTES if asked.confined else None
    with working.open("ab") as out:
        while True:
            try:
                chunk = answer.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise Stopped(str(error) or type(error).__name__) from error
            if not chunk:
                break
            done += len(chunk)
            if limit is not None and done > limit:
                raise InputError(f"{asked.shown} is larger than {format_size(limit)}.", hint="Bring it yourself.")
            out.write(chunk)
            now = time.monotonic()
            if now - told >= TELL_SECONDS:
                told = now
                of = f" of {format_size(total)}" if total else ""
                left = f", about {(now - began) * (total - done) / (done - have):,.0f} s left" if total else ""
                asked.tell(f"{format_size(done)}{of}{left}")
        out.flush()
        os.fsync(out.fileno())
    if total is not None and done < total:
        raise Stopped(f"{done:,} of {total:,} bytes came")


@contextmanager
def _answer(asked: Asked, method: str, more: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
    url = asked.address
    for _ in range(REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{asked.shown} leads to an address that is no web address.", hint="Check the address.")
        opened, target = reach.connection(parts, confined=asked.confined)
        try:
            opened.request(method, target, headers={**_headers(asked, parts), **more})
            answer = opened.getresponse()
            if answer.status in (301, 302, 303, 307, 308) and answer.headers.get("location"):
                after = urljoin(url, answer.headers["location"])
                if parts.scheme == "https" and urlsplit(after).scheme != "https":
                    raise InputError(f"{asked.shown} leads from https to {after!r}.", hint="Check the address.")
                url = after
                continue
            yield answer
            return
        except (OSError, http.client.HTTPException) as error:
            raise EnvironmentProblem(
                f"{asked.shown} does not answer: {error or type(error).__name__}.",
                hint="Check the address, and repeat.",
            ) from error
        finally:
            opened.close()
    raise InputError(f"{asked.shown} leads on and on.", hint="Check the address.")


def _headers(asked: Asked, parts: SplitResult) -> dict[str, str]:
    first = urlsplit(asked.address)
    told = {"user-agent": "bascule", "accept-encoding": "identity", "accept": "*/*"}
    if (parts.scheme, parts.hostname, parts.port) != (first.scheme, first.hostname, first.port):
        return told  # what is secret is told to nobody else
    if said := asked.options.more.get("authorization"):
        return {**told, "authorization": unquote(resolved(said))}
    if first.username:
        pair = f"{unquote(first.username)}:{unquote(first.password or '')}"
        return {**told, "authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return told


def _lower(answer: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}


def _version(headers: Mapping[str, str]) -> dict[str, str]:
    if etag := headers.get("etag"):
        return {"etag": etag}
    found = {"modified": headers.get("last-modified", ""), "bytes": headers.get("content-length", "")}
    return {name: value for name, value in found.items() if value} if found["modified"] else {}


def _name(asked: Asked, answer: http.client.HTTPResponse) -> str:
    name = Path(unquote(urlsplit(asked.address).path)).name or "download"
    if discovery.known(Path(name), CONVERTED):
        return name
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TYPES:
        raise InputError(
            f"{asked.shown} says not what it is: neither its name nor its type ({kind or 'none'}) is a known format.",
            hint=f"Known endings: {', '.join((*discovery.FORMATS, *CONVERTED))}.",
        )
    return name + TYPES[kind]


def _refused(asked: Asked, answer: http.client.HTTPResponse) -> InputError | EnvironmentProblem:
    said = f"{answer.status} {answer.reason}"
    if answer.status in (404, 410):
        return NotFound("file", asked.shown, hint=f"The server says {said}.")
    if answer.status in (401, 403):
        hint = "Put user and password into the address, as ${NAME}, or give the option authorization."
        return InputError(f"{asked.shown} may not be read: {said}.", hint=hint)
    return EnvironmentProblem(f"{asked.shown} answers {said}.", hint="Repeat later.")
