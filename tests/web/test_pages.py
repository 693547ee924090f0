"""All pages as documents: they answer, lead somewhere, escape what others wrote, and need no script to be read."""

from __future__ import annotations

import math
import re
import shlex
from html import unescape
from typing import Any
from urllib.parse import urldefrag

import pyarrow as pa
import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from bascule.catalog import audit, new_id, now
from bascule.catalog.schema import check_results
from bascule.cli.main import application
from bascule.delivery import deploy, rollback
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.registry.versions import served
from bascule.server import create_token
from bascule.server.reads import predictions
from bascule.serving.case import CRASHED
from bascule.serving.incidents import Incidents
from bascule.web.guess import near_pages
from bascule.web.sections import SECTIONS
from bascule.web.waterfall import waterfall
from tests.server.conftest import Serve
from tests.server.filled import ANN, Filled
from tests.web.addresses import pages
from tests.web.markup import Element, read

DAY = 86_400_000_000  # microseconds
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.mark.slow
def test_every_page_answers_and_is_whole(client: TestClient, filled: Filled) -> None:
    for address in pages(filled):
        answer = client.get(address, headers={"accept": "text/html"})
        assert answer.status_code == (404 if address == "/nothing-here" else 200), address
        elements = read(answer.text)
        check_document(address, elements)


def check_document(address: str, elements: list[Element]) -> None:
    tags = [element.tag for element in elements]
    assert tags.count("h1") == 1, address
    assert tags.count("main") == 1, address
    ids = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(ids) == len(set(ids)), (address, "an id is there twice")
    for element in elements:
        attributes = element.attributes
        assert "style" not in attributes, (address, "the policy forbids style attributes")
        assert not any(name.startswith("on") for name in attributes), (address, "nor handlers in attributes")
        if element.tag == "script":
            assert "src" in attributes or attributes.get("type") == "application/json", address
        for name in ("aria-labelledby", "aria-describedby", "list", "for"):
            if name in attributes:
                assert attributes[name] in ids, (address, element.tag, attributes[name])
        # A link that a model card's author wrote may lead elsewhere when it is clicked; nothing may be fetched there.
        for name in ("src", "action", "hx-get", *(() if element.tag == "a" else ("href",))):
            assert not attributes.get(name, "").startswith(("http:", "https:", "//")), (address, element)
        assert not attributes.get("href", "").startswith("javascript:"), (address, element)
        if element.tag in ("a", "button") and not element.text.strip():
            assert attributes.get("aria-label"), (address, "a link without words", element)
        if element.tag == "input" and attributes.get("type") not in ("hidden", "checkbox"):
            assert "label" in element.within or attributes.get("id"), (address, "a field without a label", element)
        if element.tag == "input" and attributes.get("type") == "checkbox":
            assert attributes.get("aria-label"), address
        if element.tag == "th":
            assert attributes.get("scope"), (address, element.text)
        if element.tag == "svg":
            hidden = attributes.get("aria-hidden") == "true"
            assert hidden or (attributes.get("role") in ("img", "group") and attributes.get("aria-label")), (
                address,
                element,
            )
        if "scroll" in attributes.get("class", "").split():
            assert (attributes.get("tabindex"), attributes.get("role")) == ("0", "region"), (
                address,
                "scrolls by mouse only",
            )
            assert attributes.get("aria-label"), address
        assert int(attributes.get("tabindex", "0")) <= 0, (
            address,
            "the order of the keyboard is the order of the page",
        )


@pytest.mark.slow
def test_no_link_is_dead(client: TestClient, filled: Filled) -> None:
    """Follow every link from every page, until there are no new ones."""
    waiting, seen, checked = pages(filled), set[str](), 0
    while waiting:
        address = urldefrag(waiting.pop()).url
        if address in seen or address == "/nothing-here":
            continue
        seen.add(address)
        answer = client.get(address, headers={"accept": "text/html"})
        assert answer.status_code in (200, 303), address
        checked += 1
        # One level deep is enough for pages of one kind: there are thousands of predictions and commits.
        if checked > len(pages(filled)):
            continue
        for element in read(answer.text):
            link = element.attributes.get("href", "")
            if element.tag == "a" and link.startswith("/"):
                waiting.insert(0, link)
    assert checked > 120


@pytest.mark.slow
def test_links_stay_on_the_chosen_state(client: TestClient) -> None:
    for element in read(client.get("/data?ref=windier-features").text):
        link = element.attributes.get("href", "")
        inside = element.tag == "a" and link.startswith("/") and "nav" in element.within
        if inside:
            assert "ref=windier-features" in link
    assert "Nothing is deployed on this branch" in client.get("/deployments?ref=windier-features").text
    assert client.get("/data?ref=no-such-branch").status_code == 404


@pytest.mark.slow
def test_an_unknown_state_is_told_on_every_page(client: TestClient) -> None:
    for path, _ in SECTIONS:
        answer = client.get(f"{path}?ref=mian")
        assert answer.status_code == 404, path
        assert "There is no branch, tag or commit named &#39;mian&#39;" in answer.text
        assert "Did you mean &#39;main&#39;?" in answer.text, path


@pytest.mark.slow
def test_unknown_names_in_an_address_are_told(client: TestClient) -> None:
    page = client.get("/runs?sttaus=failed&utm=x")
    assert page.status_code == 200
    assert re.search(r"<code>sttaus</code> in its address, and ignored it. Did you mean <code>status</code>", page.text)
    assert "<code>utm</code> in its address, and ignored it.</p>" in page.text
    assert "ignored it" not in client.get("/runs?status=failed&ref=main").text


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("/model/delays/2", ["/models/delays/2"]),
        ("/deploymets", ["/deployments"]),
        ("/tables/flights", ["/data/flights"]),
        ("/commit/abc", ["/commits/abc"]),
        ("/commit", []),
        ("/deployments/a/b/c", ["/deployments"]),
        ("/model/<b>", ["/models/%3Cb%3E"]),
        ("/qqqqqq", []),
    ],
)
def test_an_address_that_leads_nowhere_offers_the_nearest(client: TestClient, asked: str, near: list[str]) -> None:
    assert near_pages(asked)[:1] == near
    answer = client.get(asked, headers={"accept": "text/html"})
    assert answer.status_code == 404
    check_document(asked, read(answer.text))
    for page in near:
        assert f'Did you mean <a href="{page}">' in answer.text
    assert ("Did you mean" in answer.text) == bool(near)
    told = client.get(asked, headers={"accept": "application/json"})
    assert (told.status_code, told.headers["content-type"]) == (404, "application/json")


def test_who_asks_for_json_gets_errors_as_json(client: TestClient) -> None:
    told = client.get("/data/fligths", headers={"accept": "application/json"})
    assert told.status_code == 404
    assert "flights" in told.json()["hint"]
    assert client.get("/data/fligths").headers["content-type"].startswith("text/html")


def test_the_past_can_be_read_and_not_changed(client: TestClient, filled: Filled) -> None:
    page = client.get("/deployments/delays?ref=v1.0").text
    assert "This is a state of the past" in page
    assert "deployments/delays/rollback" not in page.replace("rollback deployments/delays", "")
    assert client.get(f"/data/flights?ref={filled.commit}").status_code == 200


@pytest.mark.slow
def test_an_empty_project_tells_what_will_be_where_and_how_it_comes(local_workspace: Workspace, serve: Serve) -> None:
    client = serve(local_workspace)
    app = application()
    for path, name in SECTIONS:
        page = client.get(path)
        elements = read(page.text)
        check_document(path, elements)
        told = [e for e in elements if e.tag == "p" and set(e.within) & {"main"} and re.search(r"\bwill\b", e.text)]
        assert told or path in ("/history", "/audit"), name
        commands = [
            e.text for e in elements if e.tag == "code" and "main" in e.within and e.text.startswith("bascule ")
        ]
        assert commands, name
        for command in commands:
            function, *_ = app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
            assert function is not None, command
    assert "bascule init DATA --label COLUMN" in client.get("/").text
    (local_workspace.folder.parent / "bascule.toml").write_text("")
    assert "bascule init DATA" not in client.get("/").text


def test_what_others_wrote_is_text(local_workspace: Workspace, serve: Serve) -> None:
    ws = local_workspace
    model = {"kind": "model", "name": HOSTILE, "versions": {}, "aliases": {HOSTILE: 1}}
    contract = {"kind": "contract", "table": "x", "text": HOSTILE}
    ws.history.commit("main", {"models/x": model, "contracts/x": contract}, message=HOSTILE, author=HOSTILE)
    with ws.catalog.write() as conn:
        audit.append(conn, actor=HOSTILE, action="x", subject=HOSTILE, detail={HOSTILE: HOSTILE, "list": [HOSTILE]})
    client = serve(ws)
    head = ws.history.resolve("main").id
    for address in (
        "/",
        "/history",
        f"/commits/{head}",
        "/models",
        "/audit",
        "/go?q=%3Cscript%3E",
        f"/runs?text={HOSTILE}",
    ):
        answer = client.get(address)
        assert answer.status_code < 500, address
        text = answer.text
        assert "<script>alert" not in text, address
        assert "<img" not in text, address
    assert HOSTILE in unescape(client.get("/history").text)


def test_a_model_card_can_do_no_harm(client: TestClient) -> None:
    page = client.get("/models/delays/2").text
    assert "<script>alert" not in page
    assert "example.org/x.png" in page
    assert "<img" not in page
    assert '<td class="num">0.71</td>' in page


def test_an_empty_workspace_says_how_to_begin(local_workspace: Workspace, serve: Serve) -> None:
    client = serve(local_workspace)
    for address in (
        "/",
        "/history",
        "/data",
        "/runs",
        "/models",
        "/deployments",
        "/monitoring",
        "/predictions",
        "/audit",
    ):
        answer = client.get(address)
        assert answer.status_code == 200, address
        check_document(address, read(answer.text))
    assert "bascule run" in client.get("/runs").text


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("flights", "/data/flights"),
        ("tables/flights", "/data/flights"),
        ("models/delays", "/models/delays"),
        ("main~1", "/commits/"),
        ("v1.0", "/commits/"),
        ("", "/"),
    ],
)
def test_going_to_a_name(client: TestClient, asked: str, expected: str) -> None:
    answer = client.get("/go", params={"q": asked})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(expected)


def test_going_to_an_id(client: TestClient, filled: Filled) -> None:
    for asked, page in (
        (filled.train_run, f"/runs/{filled.train_run}"),
        (filled.alert, f"/alerts/{filled.alert}"),
        (filled.prediction, f"/predictions/{filled.prediction}"),
        (filled.commit[:8], f"/commits/{filled.commit}"),
    ):
        assert client.get("/go", params={"q": asked}).headers["location"] == page
    missing = client.get("/go", params={"q": "fligths"})
    assert missing.status_code == 404
    assert "Did you mean &#39;flights&#39;?" in missing.text


def test_an_alert_names_all_that_moved_together(client: TestClient, filled: Filled) -> None:
    page = client.get(f"/alerts/{filled.alert}").text
    assert "of weather__wind_speed, hour<" in page
    assert 'href="/monitoring/delays/columns/hour"' in page
    for column, shown in (("hour", True), ("carrier", True), ("distance", False)):
        assert (filled.alert in client.get(f"/monitoring/delays/columns/{column}").text) == shown


def test_failing_rows_of_a_refused_batch_are_shown(client: TestClient) -> None:
    link = re.search(r'href="(/data/flights/checks/\d+)"', client.get("/data/flights").text)
    assert link is not None
    page = client.get(link[1]).text
    assert "Failing rows of distance: range" in page
    assert client.get("/data/flights/checks/12345").status_code == 404
    assert client.get("/data/flights/checks/x").status_code == 404


@pytest.mark.slow
def test_unusual_values_stand_where_the_checks_stand(local_workspace: Workspace, serve: Serve) -> None:
    ws, at = local_workspace, now()
    Lake(ws).append("days", pa.table({"n": [1]}), key=["n"])
    head = ws.history.resolve("main").id
    rows: list[dict[str, Any]] = []

    def measured(name: str, value: float, days: int, failed: int | None = None, status: str = "passed") -> None:
        row = {"id": new_id("c"), "subject": "tables/days", "commit_id": head, "check_name": name, "column_name": "n"}
        row |= {"severity": "critical", "status": status, "failed_rows": failed, "looked_at": "table"}
        rows.append(row | {"total_rows": 1000 + days, "value": value, "at": at - days * DAY})

    for days in range(12):
        measured("n: mean", 42.0 if days == 0 else 7.0 + days % 3, days)
        measured("n: not_null", 0.5 if days == 0 else 0.01 * (days % 2), days, failed=1)
        measured("n: steady", 7.0 + days % 3, days)
        measured("n: broken", 42.0 if days == 0 else 7.0 + days % 3, days, status="failed")
    with ws.catalog.write() as conn:
        conn.execute(insert(check_results), rows)
    client = serve(ws)
    found = {one["name"]: one for one in client.get("/api/bascule/v1/tables/days").json()["checks"]}
    assert found["n: mean"]["unusual"].startswith("42, usually ")
    assert found["n: mean"]["usual"][1] < 42
    assert found["n: not_null"]["unusual"].startswith("50 %, usually 0 % to ")
    assert (found["n: steady"]["unusual"], found["n: broken"]["unusual"]) == (None, None)
    page = client.get("/data/days").text
    assert page.count(">unusual<") == 2
    assert unescape(page).count("42, usually ") == 1
    early = client.get(f"/data/days/checks/{at - 5 * DAY}")  # its own past was too short
    assert early.status_code == 200
    assert "usually" not in early.text


@pytest.mark.slow
def test_lists_name_people_shortly_and_pages_of_one_thing_in_full(client: TestClient, filled: Filled) -> None:
    for address in ("/", "/history", "/data", "/runs", "/models/delays", "/deployments/delays", "/audit"):
        page = client.get(address).text
        shown = next(e.text for e in read(page) if e.tag == "main")
        assert ANN in page, address
        assert ANN not in shown, (address, "the whole address is a title, not repeated in each row")
        assert ANN.partition("@")[0] in shown
    assert "@example.org</dd>" in client.get(f"/commits/{filled.commit}").text
    assert client.get("/audit", params={"text": ANN}).text.count(f'title="{ANN}"') > 1


def test_a_prediction_says_what_each_input_added(
    client: TestClient, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/predictions/{filled.prediction}"
    assert "What each input added" not in client.get(address).text
    told = {"method": "shap", "scale": "log-odds", "base": 0.25, "contributions": {"hour": -3.5}}
    real = predictions.explain

    def explain(*asked: Any) -> Any:
        chain = real(*asked)
        said = {**chain["prediction"], "output": {"label": "late", "explanation": told}}
        return {**chain, "prediction": said, "truth": {"label": 1.0, "class": "in time"}}

    monkeypatch.setattr(predictions, "explain", explain)
    above, _, shown = client.get(address).text.partition("What each input added</h2>")
    assert "<dt>Answer</dt><dd>late</dd>" in above
    assert "<dt>Outcome</dt><dd>in time</dd>" in above
    assert "outcome in time" in above
    assert "log-odds, shap" in shown
    rows = re.findall(r"<(?:strong|code|td)[^>]*>([^<]+)</", shown)
    assert rows[:6] == ["base", "0.25", "hour", "-3.5", "sum", "-3.25"]


def test_what_inputs_add_is_drawn_from_the_base_to_the_sum() -> None:
    base, up, down, total = waterfall({"base": 1.0, "a": 3.0, "b": -2.0})
    assert [base.start, up.start, down.start, total.start] == pytest.approx([0, 0, 99.2 / 3, 99.2 / 3])
    assert [base.width, up.width, down.width, total.width] == pytest.approx([0.8, 99.2, 99.2 * 2 / 3, 0.8])
    assert [one.text for one in (base, up, down, total)] == ["1", "+3", "-2", "2"]
    assert up.tone != down.tone
    assert {one.width for one in waterfall({"base": 1.0, "a": 0.0})} == {0.0}
    assert {one.width for one in waterfall({"base": 1.0, "a": math.inf})} == {0.0}


def test_each_person_is_named_once_below_a_lineage(client: TestClient, filled: Filled) -> None:
    page = read(client.get(f"/predictions/{filled.prediction}").text)
    named = [e.text for e in page if e.tag == "dt" and e.within[-2:] == ["section", "dl"] and "@" in e.text]
    assert ANN in named
    assert len(named) == len(set(named))
    deeds = " ".join(e.text for e in page if e.tag == "dd")
    assert "registered the version" in deeds


@pytest.mark.slow
def test_rows_that_become_cards_name_their_columns(client: TestClient, filled: Filled) -> None:
    seen = 0
    for address in pages(filled):
        for table in re.findall(r'<table class="[^"]*cards.*?</table>', client.get(address).text, re.DOTALL):
            elements = read(table)
            heads = [e.text.strip() for e in elements if e.tag == "th" and "thead" in e.within]
            cells = [e for e in elements if e.tag in ("td", "th") and "tbody" in e.within]
            assert len(cells) % len(heads) == 0, address
            for place, cell in enumerate(cells):
                named = cell.attributes.get("data-label")
                assert cell.tag == "th" or named == heads[place % len(heads)], (address, place)
                seen += 1
    assert seen > 200


def test_runs_side_by_side(client: TestClient, filled: Filled) -> None:
    page = client.get(f"/runs/compare?run={filled.train_run}&run={filled.pipeline_run}").text
    assert "num_leaves" in page
    assert "differs" in page
    assert "bascule run diff" in page
    assert "They differ in" in page
    assert client.get("/runs/compare").status_code == 400
    many = "&".join(["run=x"] * 13)
    assert client.get(f"/runs/compare?{many}").status_code == 400


def form_of(page: str) -> dict[str, str]:
    hidden = [e.attributes for e in read(page) if e.tag == "input" and e.attributes.get("type") == "hidden"]
    return {field["name"]: field["value"] for field in hidden}


@pytest.mark.slow
def test_a_deployment_out_of_service_is_told_and_offers_no_way_back(copy: Filled, serve: Serve) -> None:
    deploy(copy.ws, "main", "trial", "delays", 1, by=ANN)
    client = serve(copy.ws)
    asked = client.get("/deployments/trial/rollback").text
    assert "Roll back trial from version 1 to no version (out of service)?" in asked
    rollback(copy.ws, "main", "trial", by=ANN)
    for address in ("/", "/deployments", "/deployments/trial"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "not in service" in answer.text
        check_document(address, read(answer.text))
    assert "Roll back" not in client.get("/deployments/trial").text
    assert "There is nothing before the present traffic" in client.get("/deployments/trial/rollback").text


@pytest.mark.slow
def test_rolling_back_asks_once_and_works_without_script(copy: Filled, serve: Serve) -> None:
    client = serve(copy.ws)
    page = client.get("/deployments/delays").text
    assert 'href="/deployments/delays/rollback"' in page
    assert "bascule rollback deployments/delays" in page
    question = client.get("/deployments/delays/rollback").text
    assert question.count("Roll back delays from version 2 at 50 % and version 3 at 50 % to version 2?") == 1
    assert copy.ws.history.get("main", "deployments/delays")["revision"] == 5
    form = {**form_of(question), "reason": "it is slow"}
    answer = client.post("/deployments/delays/rollback", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/deployments/delays?done=rollback")
    after = copy.ws.history.get("main", "deployments/delays")
    assert after["traffic"] == [{"version": 2, "weight": 100}]
    done = client.get(answer.headers["location"]).text
    assert "Done: rollback." in done
    assert "it is slow" in done
    again = client.post("/deployments/delays/rollback", data=form)
    assert again.status_code == 409, "the same form must not roll back twice"
    assert copy.ws.history.get("main", "deployments/delays") == after


def test_a_form_of_another_making_changes_nothing(copy: Filled, serve: Serve) -> None:
    client = serve(copy.ws)
    form = form_of(client.get("/deployments/delays/rollback").text)
    for broken in ({**form, "form_token": "x.y"}, {k: v for k, v in form.items() if k != "form_token"}):
        assert client.post("/deployments/delays/rollback", data=broken).status_code == 403
    assert copy.ws.history.get("main", "deployments/delays")["revision"] == 5


def test_promoting_from_the_page(copy: Filled, serve: Serve) -> None:
    client = serve(copy.ws)
    form = form_of(client.get("/deployments/delays/promote").text)
    client.post("/deployments/delays/promote", data=form)
    assert copy.ws.history.get("main", "deployments/delays")["traffic"] == [{"version": 3, "weight": 100}]
    assert "No rollout is under way" in client.get("/deployments/delays/promote").text
    assert client.get("/deployments/delays/explode").status_code == 404


def test_a_reader_sees_no_button(copy: Filled, serve: Serve) -> None:
    _, secret = create_token(copy.ws.catalog, "reader", "reader")
    client = serve(copy.ws, secret, require_tokens=True)
    assert "/deployments/delays/rollback" not in client.get("/deployments/delays").text
    refused = client.get("/deployments/delays/rollback")
    assert refused.status_code == 403
    assert "deployer or admin" in refused.text


@pytest.mark.slow
def test_who_acts_is_who_is_written(copy: Filled, serve: Serve) -> None:
    _, secret = create_token(copy.ws.catalog, "cy", "deployer")
    client = serve(copy.ws, secret, require_tokens=True)
    client.post("/deployments/delays/rollback", data=form_of(client.get("/deployments/delays/rollback").text))
    assert copy.ws.history.resolve("main").author == "cy"
    assert ANN in client.get("/deployments/delays").text


@pytest.mark.slow
def test_every_command_that_is_shown_is_one(client: TestClient, filled: Filled) -> None:
    shown: set[str] = set()
    for address in pages(filled):
        elements = read(client.get(address).text)
        shown |= {
            e.text.strip() for e in elements if e.tag == "code" and "p" in e.within and e.text.startswith("bascule")
        }
    assert len(shown) > 20
    app = application()
    for command in sorted(shown):
        function, *_ = app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
        assert function is not None, command


def test_a_release_is_gone_back_to_once_it_is_confirmed(copy: Filled, serve: Serve) -> None:
    ws, client = copy.ws, serve(copy.ws)
    ws.history.tag("before", "main~1", author=ANN)
    listed = client.get("/releases").text
    assert 'href="/releases/before"' in listed
    assert "main is there" in listed or "v1.0" in listed
    asked = client.get("/releases/before")
    token = re.search(r'name="(\w+)" value="([^"]+)"><input type="hidden" name="branch"', asked.text)
    assert token is not None
    head = ws.history.resolve("main").id
    form = {token[1]: token[2], "branch": "main", "reason": "wrong fares"}
    assert client.post("/releases/before", data=form | {"expect": "0" * len(head)}).status_code == 409
    assert ws.history.resolve("main").id == head
    done = client.post("/releases/before", data=form | {"expect": head}, follow_redirects=False)
    assert done.status_code == 303
    assert done.headers["location"] == "/releases?done=before"
    state, back = ws.history.resolve("main"), ws.history.resolve("before")
    assert "wrong fares" in state.message
    assert ws.history.digests(state, "tables/") == ws.history.digests(back, "tables/")
    assert client.get("/releases/beforr").status_code == 404


@pytest.mark.slow
def test_the_power_of_a_rollout_is_told_and_what_is_wrong_in_a_field(client: TestClient, filled: Filled) -> None:
    text = client.get("/deployments/delays/power?effect=0.02&base=0.01&share=10").text
    assert "is seen with a chance of 80 % after" in text
    assert "bascule deployment power delays --rule errors --effect 0.02 --base 0.01 --share 10" in text
    for query, words in (("effect=x", "is no number"), ("effect=0.1&share=100", "from 1 to 99"), ("effect=-1", "more")):
        assert words in unescape(client.get(f"/deployments/delays/power?{query}").text)
    assert client.get("/preview?ref=windier-features").text.count("/branch/windier-features/v2") >= 1


def test_the_page_and_the_api_of_a_deployment_say_what_broke(serve: Serve, copy: Filled) -> None:
    model = copy.ws.history.get("main", "deployments/delays")["model"]
    share = copy.ws.history.get("main", "deployments/delays")["traffic"][0]
    entry = copy.ws.history.get("main", f"models/{model}")["versions"][str(share["version"])]
    ledger = Incidents(copy.ws)
    case = ledger.case(model, share["version"], str(served(entry)["artifact"]))
    for _ in range(3):
        case.note(CRASHED, f"its worker was ended by SIGSEGV {HOSTILE}")
    ledger.close()
    client = serve(copy.ws)
    page = client.get("/deployments/delays").text
    check_document("/deployments/delays", read(page))
    assert "What broke" in page
    assert "its worker was ended by SIGSEGV" in page
    assert HOSTILE not in page
    assert f"version {share['version']} crashed, 3×" in client.get("/deployments").text
    (told,) = client.get("/api/bascule/v1/deployments/delays").json()["incidents"]
    assert (told["kind"], told["times"], told["done"], told["version"]) == ("crashed", 3, "restarted", share["version"])
