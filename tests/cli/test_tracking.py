"""`bascule track` as a user calls it: the script's output and exit code, and one document with --json."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Said

from bascule.cli.main import application
from bascule.cli.watching import plain
from bascule.history import Workspace

SCRIPT = "import sys; print('hello'); print('careful', file=sys.stderr); sys.exit(4)"


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, True])
def test_the_output_of_a_script_and_its_exit_code_are_its_own(
    folder: Path, start: Callable[..., subprocess.Popen[str]], bascule: Callable[..., Said], as_json: bool
) -> None:
    Workspace.create(folder).close()
    process = start("track", *(["--json"] if as_json else []), sys.executable, "-c", SCRIPT)
    out, err = process.communicate(timeout=60)
    said = Said(process.returncode, out, err)
    assert said.code == 4
    assert "careful" in said.err
    if as_json:
        assert "hello" in said.err  # on one stream now: their line ends may come in any order
        run = said.json()["run_id"]
        assert said.json()["exit_code"] == 4
        assert bascule("runs", run, "--json").json()["run"]["status"] == "failed"
    else:
        assert said.out == "hello\n"
        assert "exit 4" in said.err


PLAIN = (
    "python train.py",
    "-m train --epochs=3 --verbose",
    "python -m train --epochs 3 -u --rate=0.1 -x5",
    "-- python train.py --json --project x -b y",
    "--keep-output python train.py",
    "-k --jsonx",
)
WITH_OPTIONS = (
    "--",
    "-h",
    "python train.py --json",
    "--keep-outputs python train.py",
    "--keep_outputs python train.py",
    "--keep-outputs=true python train.py",
    "--no-keep-outputs python train.py",
    "python train.py -b main",
    "python train.py -bmain",
    "python train.py --branch=main --help",
    "python train.py --epochs 3 -- x",
)


@pytest.mark.parametrize("text", PLAIN)
def test_a_command_without_our_options_is_read_as_the_parser_of_options_reads_it(text: str) -> None:
    words = text.split()
    _, bound, _ = application().parse_args(["track", *words], exit_on_error=False, print_error=False)
    assert (list(bound.args), bound.kwargs) == (plain(words), {})


@pytest.mark.parametrize("text", WITH_OPTIONS)
def test_what_could_be_an_option_is_left_to_the_parser_of_options(text: str) -> None:
    assert plain(text.split()) is None


@pytest.mark.slow
def test_a_plain_command_is_tracked_without_the_parser_of_options(folder: Path) -> None:
    Workspace.create(folder).close()
    program = "import sys; from bascule.cli.main import run; run(sys.argv[1:]); assert 'cyclopts' not in sys.modules"
    words = ["track", sys.executable, "-c", "print('done')"]
    done = subprocess.run([sys.executable, "-c", program, *words], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"exit 0" in done.stderr


def test_what_cannot_be_started_is_told(folder: Path, bascule: Callable[..., Said]) -> None:
    Workspace.create(folder).close()
    said = bascule("track", "--json", "no-such-program")
    assert said.code == 2
    assert "'no-such-program' cannot be started" in said.json()["error"]
    assert bascule("track").code == 2


def test_a_script_runs_where_there_is_no_project_and_its_run_is_kept(
    folder: Path, bascule: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (folder / "t.py").write_text("open('o.txt', 'w').write('x')\n")
    said = bascule("track", "--json", sys.executable, "t.py")
    assert said.code == 0
    assert (folder / "o.txt").read_text() == "x"
    kept = said.json()
    assert "There is no project" in kept["problem"]
    assert kept["journal"].startswith(str(tmp_path / "state"))
    Workspace.create(folder).close()
    assert bascule("sync", kept["journal"]).code == 0
    run = bascule("runs", kept["run_id"], "--json").json()
    assert run["run"]["status"] == "done"
    assert "o.txt" in str(run["outputs"])
    assert not Path(kept["journal"]).exists()
    elsewhere = bascule("track", "--project", str(tmp_path / "none"), sys.executable, "t.py")
    assert (elsewhere.code, "There is no folder" in elsewhere.err) == (2, True)
