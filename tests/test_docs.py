"""The pages keep up with the code: commands, links, examples, rooms."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bascule.cli.commands import COMMANDS
from bascule.cli.main import application, plain

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*/*.md")
    for path in ROOT.glob(pattern)
    if not path.name.startswith(".")
)
ROOMS = sorted(path.parent.name for path in (ROOT / "src" / "bascule").glob("*/__init__.py"))
# Written in two halves, so that this file does not name them either.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "deb.debian" + ".org",
    "anaconda" + ".org",
    "crates" + ".io",
    "proxy.golang" + ".org",
]
EXTERNAL = re.compile(r"[a-z]+:", re.IGNORECASE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", DOCS / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [textwrap.dedent(found) for found in re.findall(rf"^[ ]*```{language}\n(.*?)^[ ]*```", text, re.M | re.S)]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks and inline code, in which brackets are no links."""
    text = re.sub(r"^[ ]*```.*?^[ ]*```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """Return the names that the headings of a page can be linked by, as code hosts make them."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def spoken_commands(page: Path) -> Iterator[list[str]]:
    """Yield the words after `bascule` wherever a page writes a command: in a block of its own or between backticks."""
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^(?:    |\$ )bascule (.+)$", text, re.M) + re.findall(r"`bascule ([^`\n]+)`", text):
        yield line.split()


# The command line's page


@pytest.mark.slow
def test_the_page_of_the_command_line_is_the_command_line() -> None:
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == generator().page(), "the command line has changed; write its page anew: python docs/make_cli.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_on_the_page(name: str) -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    app = application()
    for words, command in generator().commands(app, name):
        _, found, rest = page.partition(f"\n### bascule {words}\n")
        assert found, f"bascule {words} is not on the page"
        section = page.partition("## History")[0] + re.split(r"\n##", rest)[0]
        for argument in command.assemble_argument_collection(default_parameter=plain()):
            long = argument.name
            if argument.show:
                assert f"`{long}`" in section or f"`{long.lstrip('-').upper()}`" in section, f"{words}: {long}"


# Every page


def test_there_are_pages() -> None:
    assert {"README.md", "docs/index.md", "docs/cli.md"} <= {name_of(page) for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if EXTERNAL.match(target):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(place), f"{target}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_on_a_page_is_python(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block, name_of(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    app = application()
    for words in spoken_commands(page):
        name = words[0]
        if not re.fullmatch(r"[a-z-]+", name) or name.startswith("-"):
            continue  # COMMAND, --version
        assert name in COMMANDS, f"bascule {name}"
        below = {one for one in app[name] if not one.startswith("-")}
        if below and not app[name].default_command and len(words) > 1:
            assert words[1] in below, f"bascule {name} {words[1]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_of_make_that_a_page_names_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.M)) <= known


# The tour


def tour() -> list[list[str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [shlex.split(line, comments=True) for line in re.findall(r"^    ((?:bascule|git) .+)$", text, re.M)]


def test_the_tour_is_in_the_readme() -> None:
    assert [words[1] for words in tour() if words[0] == "bascule"] == [
        *("init", "run", "diff", "merge", "rollback", "explain", "reproduce", "track"),
    ]


def test_each_line_of_the_tour_is_understood() -> None:
    for words in tour():
        if words[0] == "bascule":
            application().parse_args(words[1:], exit_on_error=False, print_error=False)


# The mirror rule


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_page(room: str) -> None:
    assert (DOCS / f"{room}.md").is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_tests(room: str) -> None:
    assert list((ROOT / "tests" / room).rglob("test_*.py"))


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_a_page_is_in_the_list_of_pages(page: Path) -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert page.name == "index.md" or f"({page.relative_to(DOCS).as_posix()})" in index


def test_a_benchmark_is_in_the_table_of_benchmarks() -> None:
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py") if not path.name.startswith("_")}
    assert scripts == set(re.findall(r"`(\w+\.py)`", table))


# No address of a registry (docs/decisions/0003-requirements-lock.md)


def test_no_file_names_a_registry() -> None:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not in a git repository")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    texts = ((file, file.read_bytes()) for file in files)
    assert [(name_of(f), host) for f, text in texts for host in REGISTRIES if host.encode() in text] == []


def test_the_lock_has_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^(\S+==\S+)", lock, re.M)
    assert len(pins) > 50
    assert all(pin in lock for pin in pins)
    for part in re.split(r"^(?=\S+==)", lock, flags=re.M)[1:]:
        assert "--hash=sha256:" in part, part.partition(" ")[0]
    assert "://" not in lock
    assert "index-url" not in lock
