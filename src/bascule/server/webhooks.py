"""Sending webhooks: signed, to addresses that were looked at, without following where an answer leads."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import time
from typing import Any

from bascule.catalog import new_id
from bascule.errors import BasculeError, InputError
from bascule.history import Workspace
from bascule.registry import webhooks

EVERY = 2.0
AT_ONCE = 20
MOST_ANSWER = 1_000
TIMEOUT_S = 10.0


def deliver(ws: Workspace) -> None:
    """Look what happened, and send what is due; a part of it at each call."""
    webhooks.look(ws)
    for row, hook in webhooks.claimed(ws, AT_ONCE):
        try:
            status, said = send(hook.url, row.body_json, row.id, hook.secret)
        except InputError as error:  # the address may not be told any more
            webhooks.note(ws, row, error.message, delivered=False, hopeless=True)
        except (BasculeError, OSError, http.client.HTTPException) as error:
            webhooks.note(ws, row, f"{type(error).__name__}: {error}", delivered=False)
        else:
            webhooks.note(ws, row, f"{status} {said}", delivered=200 <= status < 300, hopeless=status == 410)


def tried(hook: Any, body: str) -> dict[str, Any]:
    """Send a webhook now, and return how that went, as the protocol has it."""
    try:
        status, said = send(hook.url, body, new_id("dlv"), hook.secret)
    except (BasculeError, OSError, http.client.HTTPException) as error:
        return {"success": False, "error_message": str(error)[:MOST_ANSWER]}
    return {"success": 200 <= status < 300, "response_status": status, "response_body": said}


def send(url: str, body: str, delivery: str, secret: str | None) -> tuple[int, str]:
    """Send one webhook, and return the status and the beginning of what was answered.

    Raises:
        InputError: the URL may not be told.
        EnvironmentProblem, OSError, HTTPException: it cannot be reached.
    """
    from bascule.lake.origins import reach

    parts, confined = webhooks.address(url)
    moment = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "bascule",
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": moment,
    }
    if secret:
        headers["X-MLflow-Signature"] = signature(secret, delivery, moment, body)
    connection, target = reach.connection(parts, confined=confined)
    connection.timeout = TIMEOUT_S
    try:
        connection.request("POST", target, body.encode(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_ANSWER).decode("utf-8", "replace")
    finally:
        connection.close()


def signature(secret: str, delivery: str, moment: str, body: str) -> str:
    """Return what proves that a delivery comes from who knows the secret."""
    digest = hmac.new(secret.encode(), f"{delivery}.{moment}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
