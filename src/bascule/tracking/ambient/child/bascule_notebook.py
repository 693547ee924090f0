"""Notebooks: each cell that is executed is noted with its order; and a notebook is executed without anybody looking.

As a program, `python bascule_notebook.py NOTEBOOK` executes all cells, and keeps what came out as a notebook.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bascule_watch as watch

LONGEST_SOURCE = 100_000


def load(shell: Any) -> None:
    """Record a notebook's kernel, and its cells as they are executed."""
    import bascule_here

    bascule_here.begin(os.path.basename(os.environ.get("JPY_SESSION_NAME", "")) or "notebook")
    shell.events.register("post_run_cell", _executed)


def _executed(result: Any) -> None:
    with contextlib.suppress(Exception):
        error = result.error_in_exec or result.error_before_exec
        note_cell(result.info.raw_cell, result.execution_count, error and f"{type(error).__name__}: {error}")


def note_cell(source: str, order: int | None, error: str | None) -> None:
    """Note a cell that was executed."""
    watch.note({"kind": "cell", "order": order or 0, "source": source[:LONGEST_SOURCE], "error": error})


def execute(path: str) -> int:
    """Execute a notebook's cells in their order, in its folder, and keep the executed notebook with the run.

    Returns:
        0; 1 when a cell raised, and those after it did not run; 2 when it is no notebook.
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # each version of nbformat has its own
        print(f"bascule: {path} is no notebook that can be read: {error}", file=sys.stderr)
        watch.note({"kind": "exception", "text": f"{type(error).__name__}: {error}"[:1000], "trace": ""})
        return 2
    kernel = notebook.metadata.get("kernelspec", {}).get("name", "python3")
    try:
        KernelSpecManager().get_kernel_spec(kernel)
    except NoSuchKernel:
        print(f"bascule: there is no kernel {kernel!r} here; python3 is used.", file=sys.stderr)
        kernel = "python3"
    place = {"metadata": {"path": os.path.dirname(os.path.abspath(path))}}
    # Without the times of its cells the executed notebook comes out the same when it is reproduced.
    client = NotebookClient(notebook, kernel_name=kernel, timeout=None, resources=place, record_timing=False)
    code = 0
    try:
        client.execute()
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        watch.note({"kind": "exception", "text": f"{error.ename}: {error.evalue}", "trace": error.traceback})
        code = 1
    finally:
        _note_cells(notebook)
        _keep(nbformat.writes(notebook).encode(), os.path.basename(path))
    return code


def _note_cells(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type != "code" or cell.get("execution_count") is None:
            continue
        failed = [out for out in cell.outputs if out.output_type == "error"]
        note_cell(cell.source, cell.execution_count, f"{failed[0].ename}: {failed[0].evalue}" if failed else None)
        for out in cell.outputs:
            if out.output_type == "stream":
                (sys.stdout if out.name == "stdout" else sys.stderr).write(out.text)


def _keep(data: bytes, name: str) -> None:
    place = watch.keep(data)
    if place is not None:
        watch.note({"kind": "artifact", "name": name, "path": place, "size": len(data)})


if __name__ == "__main__":
    sys.exit(execute(sys.argv[1]))
