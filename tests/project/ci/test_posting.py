"""One comment on a pull request, through limits, failures and other people's comments."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.project.ci.comment import MARKER, Section, compose, length
from bascule.project.ci.forges import comments_of
from bascule.project.ci.job import Job
from bascule.project.ci.posting import post
from tests.project.ci.forge import TOKEN, Forge, running


@pytest.fixture(params=["github", "gitlab"])
def forge(request: pytest.FixtureRequest) -> Iterator[Forge]:
    with running(Forge(request.param)) as made:
        yield made


def job(forge: Forge, token: str = TOKEN) -> Job:
    repository = "ana/parcels" if forge.kind == "github" else "12"
    return Job(forge=forge.kind, number=7, repository=repository, api=forge.url, token=token)


def test_the_comment_is_made_once_and_then_kept_up_to_date(forge: Forge) -> None:
    forge.comments = {number: f"talk {number}" for number in range(1, 251)}
    assert post(job(forge), f"{MARKER}\nfirst").how == "created"
    assert post(job(forge), f"{MARKER}\nsecond").how == "updated"
    ours = [text for text in forge.comments.values() if text.startswith(MARKER)]
    assert ours == [f"{MARKER}\nsecond"]
    pages = [path for method, path in forge.asked if method == "GET"]
    assert len(pages) == 6  # 250 and 251 comments are three pages each
    assert all("per_page=100" in path for path in pages)


def test_whoever_quotes_it_keeps_what_they_wrote(forge: Forge) -> None:
    forge.comments = {1: f"> {MARKER}\n> no!", 2: f"look: {MARKER}"}
    assert post(job(forge), f"{MARKER}\nours").how == "created"
    assert forge.comments[1].startswith("> ")
    assert len(forge.comments) == 3


def test_a_marked_comment_of_somebody_else_is_left(forge: Forge) -> None:
    forge.comments, forge.foreign = {1: f"{MARKER}\nforged"}, {1}
    assert post(job(forge), f"{MARKER}\nours").how == "created"
    assert post(job(forge), f"{MARKER}\nours again").how == "updated"
    assert sorted(forge.comments.values()) == [f"{MARKER}\nforged", f"{MARKER}\nours again"]


def test_a_limit_is_waited_for(forge: Forge) -> None:
    waited: list[float] = []
    forge.troubles = [
        (429, {"Retry-After": "7"}),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 20)}),
    ]
    assert post(job(forge), f"{MARKER}\nours", sleep=waited.append).how == "created"
    assert waited[0] == 7
    assert 15 < waited[1] <= 20


def test_a_limit_that_lasts_too_long_is_told(forge: Forge) -> None:
    waited: list[float] = []
    forge.troubles = [(429, {"Retry-After": "3600"})]
    with pytest.raises(EnvironmentProblem, match="asks to wait 3600 s"):
        post(job(forge), f"{MARKER}\nours", sleep=waited.append)
    assert waited == []


def test_a_failing_server_is_asked_again(forge: Forge) -> None:
    waited: list[float] = []
    forge.troubles = [(500, {}), (502, {}), (503, {})]
    assert post(job(forge), f"{MARKER}\nours", sleep=waited.append).how == "created"
    assert waited == [1, 2, 4]
    forge.troubles = [(500, {})] * 9
    with pytest.raises(EnvironmentProblem, match="it answered 500"):
        post(job(forge), f"{MARKER}\nours", sleep=waited.append)


def test_a_lost_answer_makes_no_second_comment(forge: Forge) -> None:
    was = forge.answer

    def losing(method: str, *rest: object) -> object:
        if method == "POST":
            forge.troubles = [(599, {})]
        return was(method, *rest)  # type: ignore[arg-type]

    forge.answer = losing  # type: ignore[method-assign, assignment]
    assert post(job(forge), f"{MARKER}\nours", sleep=lambda s: None).how == "updated"
    assert list(forge.comments.values()) == [f"{MARKER}\nours"]
    assert [method for method, _ in forge.asked].count("POST") == 1


@pytest.mark.parametrize("status", [401, 403, 404, 418])
def test_a_refusal_is_told_without_the_token(forge: Forge, status: int) -> None:
    forge.troubles = [(status, {})]
    with pytest.raises(BasculeError, match=str(status)) as error:
        post(job(forge), f"{MARKER}\nours", sleep=lambda s: None)
    assert TOKEN not in str(error.value.as_dict())
    with pytest.raises(BasculeError, match="token is not accepted") as error:
        post(job(forge, "wrong-token"), f"{MARKER}\nours")
    assert "wrong-token" not in str(error.value.as_dict())
    assert TOKEN not in repr(job(forge))


def test_a_forge_that_is_not_there(forge: Forge) -> None:
    nowhere = replace(job(forge), api="http://127.0.0.1:1")
    with pytest.raises(EnvironmentProblem, match="cannot be reached"):
        post(nowhere, f"{MARKER}\nours", sleep=lambda s: None)


@pytest.mark.parametrize("api", ["http://forge.example", "ftp://forge.example", "forge", ""])
def test_a_token_goes_nowhere_in_the_clear(forge: Forge, api: str) -> None:
    with pytest.raises(InputError):
        comments_of(replace(job(forge), api=api))


@pytest.mark.slow
def test_the_longest_comment_is_taken(forge: Forge) -> None:
    limit = comments_of(job(forge)).limit
    rows = "".join(f"| {n} | 🚚 parcel |\n" for n in range(80_000))
    text = compose("### ❌ 1 check failed", [Section("rows", (rows, rows[:30_000])), Section("steps", ("ran",))], limit)
    assert length(text) <= limit
    assert post(job(forge), text).how == "created"
    whole = compose("x" * 2 * limit, [], limit)
    assert length(whole) <= limit
    assert post(job(forge), whole).how == "updated"


def test_failures_come_first_and_what_does_not_fit_is_named() -> None:
    sections = [Section("checks", ("C" * 800, "c" * 50)), Section("stages", ("z" * 900,)), Section("diff", ("d" * 20,))]
    text = compose("head", sections, 1000, more="See the files.")
    assert text.startswith(f"{MARKER}\nhead\n")
    assert "c" * 50 in text
    assert text.index("c" * 50) < text.index("d" * 20)
    assert "zz" not in text
    assert "**Left out for length**: stages. See the files." in text
    assert "Left out" not in compose("head", sections, 5000)
