"""The environment of a run, made anew: its Python and its packages, by `uv`, in a folder named by their digest.

What is made is kept (`environments/` of the workspace's folder) and used again; the folder may be deleted at any time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import bascule
from bascule.counting import counted
from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.project.reproducing.recorded import PYTHON, Recorded
from bascule.project.step import Progress
from bascule.store import digest_of
from bascule.store.locking import held
from bascule.tracking import capture_environment
from bascule.tracking.environment import VARIABLES

CHOICES = ("auto", "recorded", "present")
FOLDER = "environments"
DONE = "complete"
# Of ours, and of what makes environments: neither comes from an index for the script's sake.
OWN = "bascule"
PRESENT = "Go on in the environment that is here, and be told what differs, with: --environment present"
_LIST = """
import json, platform
from importlib.metadata import distributions
found = [(d.metadata["Name"].strip().lower(), d.version) for d in distributions() if d.metadata["Name"]]
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""


@dataclass(frozen=True)
class Ready:
    """An environment to run in.

    Attributes:
        folder: of a virtual environment; None is the one that is here.
        packages: what is installed in it.
        python: its version.
        variables: what the command's environment variables are.
        program: the Python that the command means here, if it means one.
    """

    folder: Path | None
    packages: dict[str, str]
    python: str
    variables: dict[str, str]
    program: str | None = None

    def command(self, argv: list[str]) -> list[str]:
        """Return a command's words with its Python replaced by this environment's."""
        if not PYTHON.match(Path(argv[0]).name):
            return argv
        if self.folder is None:
            return [self.program or argv[0], *argv[1:]]
        return [str(_program(self.folder, "python")), *argv[1:]]


def prepare(workspace: Workspace, recorded: Recorded, choice: str, progress: Progress, notes: list[str]) -> Ready:
    """Return the environment to run in.

    Args:
        choice: `recorded` makes it by uv; `present` takes the one that is here; `auto` takes that if it is the same.

    Raises:
        EnvironmentProblem: it cannot be made, and why.
    """
    program = _meant(recorded)
    python, packages = _here(recorded.argv, program)
    same = (recorded.environment.get("python"), recorded.packages) == (python, packages)
    variables = _variables(recorded)
    if recorded.variables is None:
        notes.append("Its environment variables for seeds and threads were not recorded; they are as they are here.")
    if choice == "present" or (choice == "auto" and same):
        return Ready(None, packages, python, variables, program)
    if not recorded.packages or not recorded.environment.get("python"):
        raise EnvironmentProblem(f"The packages of run {recorded.id} were not recorded.", hint=PRESENT)
    progress(f"environment of Python {recorded.environment['python']} and {counted(len(recorded.packages), 'package')}")
    folder = _made(workspace, recorded.environment)
    where = f"{_program(folder, 'python').parent}{os.pathsep}{variables.get('PATH', os.defpath)}"
    variables |= {"VIRTUAL_ENV": str(folder), "PATH": where}
    return Ready(folder, _listed(folder, recorded), str(recorded.environment["python"]), variables)


def _meant(recorded: Recorded) -> str | None:
    """Return the Python that a run's command means: as its path stood to the folder that it ran in, or by `PATH`."""
    name = recorded.argv[0]
    if not PYTHON.match(Path(name).name):
        return None
    if Path(name).name != name:
        name = str(Path(str(recorded.environment.get("working_folder") or "."), name))
    return shutil.which(name)


def _here(argv: list[str], program: str | None) -> tuple[str, dict[str, str]]:
    """Return the version and the packages of the Python that a command would run with here; ours where that is none."""
    own = capture_environment()
    if program is None and PYTHON.match(Path(argv[0]).name):
        return "not found", {}
    if program is None or Path(program).absolute() == Path(sys.executable).absolute():
        return own["python"], own["packages"]
    try:
        done = subprocess.run([program, "-c", _LIST], capture_output=True, timeout=60, check=True)
        found = msgspec.json.decode(done.stdout)
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError):
        return "not found", {}
    return found["python"], dict(sorted((name, version) for name, version in found["packages"]))


def _variables(recorded: Recorded) -> dict[str, str]:
    """Return this process' variables, with those for seeds and threads as they were."""
    if recorded.variables is None:
        return dict(os.environ)
    others = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return others | recorded.variables


def _made(workspace: Workspace, environment: dict[str, Any]) -> Path:
    wanted = {"python": environment["python"], "packages": environment["packages"], "machine": environment["machine"]}
    name = digest_of(msgspec.json.encode(wanted, order="deterministic"))[:24]
    folder = workspace.folder / FOLDER / name
    folder.parent.mkdir(exist_ok=True)
    with held(folder.parent / f"{name}.lock", exclusive=True):
        if not (folder / DONE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _make(folder, environment)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / DONE).write_text(time.strftime("%Y-%m-%d\n"), encoding="utf-8")
    return folder


def _make(folder: Path, environment: dict[str, Any]) -> None:
    _uv(["venv", "--quiet", "--python", _python(environment), str(folder)], "makes no environment", folder)
    listed = folder / "packages.txt"
    own = environment["packages"].get(OWN)
    lines = [f"{name}=={version}" for name, version in environment["packages"].items() if name != OWN]
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
    program = str(_program(folder, "python"))
    # An empty list is nothing to install; uv would take it for a mistake.
    if lines:
        _uv(["pip", "sync", "--quiet", "--python", program, str(listed)], "cannot install what was recorded", folder)
    if own is not None:
        _link_own(folder)


def _link_own(folder: Path) -> None:
    """Give the environment this very Bascule, which no index may have."""
    packages = next(iter([*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")]))
    source, target = Path(bascule.__file__).parent, packages / OWN
    try:
        target.symlink_to(source, target_is_directory=True)
    except OSError:
        shutil.copytree(source, target)


def _python(environment: dict[str, Any]) -> str:
    """Return the interpreter to take: the recorded one if it is here, this one if it is the same, else a version."""
    there = str(environment.get("executable") or "")
    for program in (there, sys.executable):
        if program and Path(program).exists() and _version(program) == environment["python"]:
            return program
    return str(environment["python"])


def _version(program: str) -> str:
    code = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _listed(folder: Path, recorded: Recorded) -> dict[str, str]:
    """Return the packages that are in an environment, by the names that the run used."""
    found = _uv(["pip", "list", "--format", "json", "--python", str(_program(folder, "python"))], "cannot list", folder)
    there = {_plain(one["name"]): one["version"] for one in msgspec.json.decode(found)}
    if OWN in recorded.packages:
        there[OWN] = bascule.__version__
    names = {_plain(name): name for name in recorded.packages}
    return {names.get(name, name): version for name, version in there.items()}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _program(folder: Path, name: str) -> Path:
    return folder / "Scripts" / f"{name}.exe" if os.name == "nt" else folder / "bin" / name


def _uv(arguments: list[str], what: str, folder: Path) -> str:
    program = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if program is None:
        raise EnvironmentProblem(
            "The recorded environment is made by uv, and uv is not installed.",
            hint=f"Install it with: pip install uv\n  {PRESENT}",
        )
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        lines = [line.strip(" ×╰─▶├│") for line in done.stderr.splitlines() if line.strip()]
        told = " ".join(lines).replace(str(folder), folder.name)[:600]
        raise EnvironmentProblem(f"uv {what}: {told}", hint=PRESENT)
    return done.stdout
