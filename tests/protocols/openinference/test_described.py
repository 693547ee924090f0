"""The inference port describes itself in OpenAPI, and whatever is sent to what it describes, nothing fails inside.

Schemathesis does the same with more cases: `st run http://127.0.0.1:7401/openapi.json` against `bascule serve`.
"""

from __future__ import annotations

import json
import random
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from openapi_spec_validator import validate

from tests.protocols.openinference.conftest import Served
from tests.server.test_described import request_of

EACH = 6  # requests an operation, and as many of a model that is there


def test_it_says_what_is_there(server: Served) -> None:
    document = server.ask("/openapi.json")
    assert (document["openapi"], len(document["paths"])) == ("3.1.0", 75)
    there = {"branch": "main", "name": "delays", "version": "1"}
    for path, methods in document["paths"].items():
        if "get" in methods:
            code, headers, body = server.request(path.format(**there))
            (kind,) = methods["get"]["responses"]["200"]["content"]
            assert (code, headers["content-type"].partition(";")[0]) == (200, kind), (path, body)
    body = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
    assert list(body) == ["application/json", "application/octet-stream"]
    assert document["components"]["schemas"]["InferRequest"]["required"] == ["inputs"]
    asked = document["paths"]["/v2/models/{name}/predict"]["post"]
    assert [one["name"] for one in asked["parameters"]] == ["name", "explain"]
    assert server.error("/branch/main/openapi.json", status=404)


def test_a_query_may_be_of_any_letters(server: Served) -> None:
    assert server.ask("/v2?%C3%A9=%FF&ü=1".replace("ü", "%FC"))["name"] == "bascule"
    rows = {"instances": [{"distance": 900.0, "hour": 7, "night": False, "carrier": "AA"}]}
    assert "é" in server.error("/v2/models/delays/predict?explain=%C3%A9", rows)


@pytest.mark.slow
def test_nothing_fails_inside(server: Served) -> None:
    document, chance = server.ask("/openapi.json"), random.Random(5)
    validate(document)
    known, seen = document["components"]["schemas"], set()
    every = [(path, method, one) for path, of in document["paths"].items() for method, one in of.items()]
    for place, (path, method, operation) in enumerate([*every] * 2 * EACH):
        if "/repository/models/" in path:
            continue  # the server's other tests ask these models
        if place // len(every) % 2:
            path = path.replace("{name}", chance.choice(["delays", "numbers"])).replace("{version}", "1")
            path = path.replace("{branch}", "main")
        url, query, body = request_of(path, operation, known, chance)
        url = re.sub("/+", "/", url) + (f"?{urlencode(query)}" if query else "")
        code, _, answer = server.request(url, None if body is None else body.encode(), method.upper())
        asked: Any = (method, url, body, code, answer[:300])
        assert code < 500, asked
        seen.add(code)
        if code >= 400:
            assert json.loads(answer).keys() == {"error"}, asked
    assert {200, 400, 404} <= seen
