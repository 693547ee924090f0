"""From data to a model, as Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.contracts import Report
    from bascule.contracts.exporting import Exported
    from bascule.contracts.importing import Imported
    from bascule.lake.filesets import FileSet
    from bascule.profiles import FilesProfile, TableProfile
    from bascule.project.anonymising import Release
    from bascule.project.batches import Batch
    from bascule.project.contracting import Promises
    from bascule.project.judging import Judgement
    from bascule.project.pasts import Measurement
    from bascule.project.personal import ColumnMask, PersonalData
    from bascule.project.profiling import Mocked
    from bascule.project.receipt import Receipt
    from bascule.project.runner import Result, Watcher
    from bascule.project.tabling import BranchTable, TableDescription
    from bascule.project.why import Outlook


class BuildingVerbs(Bound):
    """From data to a model: each method is the command of that name."""

    def ingest(
        self,
        table: str,
        source: Path | str,
        *,
        key: Sequence[str] = (),
        mode: Literal["append", "replace"] | None = None,
        dates: Literal["day-first", "month-first"] | None = None,
        query: str = "",
        cursor: str = "",
        tolerate: float | None = None,
        option: Mapping[str, str] | None = None,
        message: str | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> Batch:
        """Bring rows into a table: written on a branch of their own, checked there, merged when they pass.

        Args:
            source: files, or an address: `https://…`, `s3://…`, `postgresql://…`, `kafka://…`, `python://module:function`.
            query, cursor: what is asked of a database, and a column that only grows: only rows beyond it are brought.
            tolerate: the share of a file's records that may go to the table `quarantine` because they cannot be read.
            option: what else a kind of source is told, such as the `sheet` of a workbook.
        """
        from bascule.project.bringing import ingest

        told: dict[str, Any] = {"query": query, "cursor": cursor, "tolerate": tolerate, "options": option}
        return ingest(self.place, table, source, key=key, mode=mode, dates=dates, message=message, tell=tell, **told)

    def table(self, name: str, *, at: str | None = None) -> BranchTable:
        """Return a table: look at it and read it, create, append, overwrite, upsert, delete, change or drop it.

        Args:
            at: the state that is read; the current branch by default.
        """
        from bascule.project.tabling import BranchTable

        return BranchTable(self.place, name, at)

    def tables(self, at: str | None = None) -> list[TableDescription]:
        """Return the tables of a state, the current branch by default."""
        from bascule.project.tabling import list_tables

        return list_tables(self.place, at)

    def files(self, name: str, *, at: str | None = None) -> FileSet:
        """Return a set of files: add a folder to it, check it out, or read it by path without a checkout.

        What is added to a protected branch is held to the checks that the project requires.

        Args:
            name: the set; it begins with its first `add`.
            at: the state that is read; the current branch by default.
        """
        from bascule.lake.filesets import FileSet
        from bascule.project.admitting import admission

        branch = self.place.branch
        guard = admission(self.workspace, branch, self.place.folder)
        return FileSet(self.workspace, name, branch, at, guard=guard)

    def file_sets(self, at: str | None = None) -> dict[str, dict[str, Any]]:
        """Return the sets of files at a state, by name, with the object of each: how many files, how many bytes."""
        from bascule.lake.filesets import file_sets

        return dict(file_sets(self.workspace, at or self.place.branch))

    def suggest_contract(self, table: str) -> str:
        """Return a contract that a table keeps, as commented text to review."""
        from bascule.project.contracting import suggest_contract

        return suggest_contract(self.place, table)

    def scan_pii(
        self,
        table: str,
        *,
        write: bool = False,
        sure: float = 0.7,
        rows: int = 20_000,
        region: str | None = None,
        nlp: str | None = None,
    ) -> PersonalData:
        """Look for personal data in a table, and tag the contract's columns when told.

        Args:
            write: write classification and tags into the contract's file.
            sure: the least confidence to be tagged, from 0 to 1.
            rows: how many rows are looked at, at most.
            region: a country's code, whose national phone numbers are known, too.
            nlp: look for names of people in free text, too: a spaCy pipeline, `presidio:en` or `module:function`.
        """
        from bascule.project.personal import scan_table

        return scan_table(self.place, table, write=write, sure=sure, rows=rows, region=region, nlp=nlp)

    def masks(self, table: str | None = None) -> list[ColumnMask]:
        """Return how columns of the branch's tables are masked, and for which roles."""
        from bascule.project.personal import masks

        return masks(self.place, table)

    def anonymise(
        self,
        table: str,
        quasi: Sequence[str],
        sensitive: Sequence[str] = (),
        *,
        k: int = 5,
        l: int = 1,  # noqa: E741
        suppress: float = 0.0,
        hierarchy: Mapping[str, Path | str] | None = None,
        into: str | None = None,
        to_branch: str | None = None,
        memory: str | None = None,
    ) -> Release:
        """Write a k-anonymous and l-diverse copy of a table on a branch; see `bascule.lake.privacy.anonymised`.

        Args:
            quasi: columns that together tell who somebody is; they are generalised.
            sensitive: columns of which rows that are alike have at least `l` different values.
            suppress: the share of rows that may be left out.
            hierarchy: by column, a CSV file of what its values are called at coarser levels.
            into: the new table's name; TABLE_anonymous when None.
            to_branch: where it is written; anonymised/TABLE when None.
            memory: how much it may take, such as `8GB`; half of this machine's when None.
        """
        from bascule.project.anonymising import anonymise_table

        return anonymise_table(
            self.place,
            table,
            quasi,
            sensitive,
            k=k,
            l=l,
            suppress=suppress,
            hierarchies=hierarchy,
            into=into,
            branch=to_branch,
            memory=memory,
        )

    def check_contract(self, table: str) -> Report:
        """Check a table against its contract."""
        from bascule.project.contracting import check_contract

        return check_contract(self.place, table)

    def read_contract(self, table: str) -> Promises:
        """Return what a table promises: its contract, or what its key implies."""
        from bascule.project.contracting import read_contract

        return read_contract(self.place, table)

    def diff_contracts(self, before: str, after: str | None = None) -> list[Judgement]:
        """Judge how schemas and contracts differ between two states, and which readers would break.

        Args:
            before, after: branches, tags or commits, the second one by default the current branch; or contract files.
        """
        from bascule.project.contracting import diff_contracts

        return diff_contracts(self.place, before, after)

    def import_contract(self, file: Path | str, *, table: str | None = None, form: str | None = None) -> Imported:
        """Make a contract from another tool's file, and say what has no equal meaning."""
        from bascule.project.contracting import import_file

        return import_file(Path(file), table, form)

    def export_contract(self, table: str, form: str = "odcs") -> Exported:
        """Return a table's contract in another tool's words, and what they cannot say."""
        from bascule.project.contracting import export

        return export(self.place, table, form)

    def explain_contract(self, table: str) -> str:
        """Return how a table is checked: the one scan, the queries beside it, and how much was measured before."""
        from bascule.project.contracting import explain_contract

        return explain_contract(self.place, table)

    def contract_history(self, table: str, *, check: str | None = None, batches: bool = False) -> list[Measurement]:
        """Return what a table's checks measured before, oldest first, each with what was usual then.

        Args:
            check: only this one.
            batches: what they measured of the batches that came in, and not of the whole table.
        """
        from bascule.project.contracting import contract_history

        return contract_history(self.place, table, check, batches=batches)

    def profile(
        self,
        table: str,
        *,
        at: str | None = None,
        against: str | None = None,
        columns: Sequence[str] = (),
        label: str | None = None,
        sample: int = 0,
        tell: Callable[[str], None] = lambda text: None,
    ) -> TableProfile | FilesProfile:
        """Return what a table or a set of files holds; `bascule.project.profiling.html` writes it as a page.

        Args:
            table: a table, or a set of files (`files/photos` where both have the name).
            at: the state that is read; the current branch by default.
            against: another state to compare with.
            columns: only these.
            label: what is learned from it, to judge leakage by; the project's own unless given.
            sample: look at about so many rows or files only; 0 looks at all rows, and reads 2,000 files.
        """
        from bascule.project.profiling import profile

        return profile(
            self.place, table, at=at, against=against, columns=columns, label=label, sample=sample, tell=tell
        )

    def mock(
        self,
        tables: str | Sequence[str],
        *,
        rows: int = 1000,
        seed: int = 0,
        at: str | None = None,
        private: Sequence[str] = (),
        output: Path | str | None = None,
        into: str | None = None,
    ) -> Mocked:
        """Make up rows after the profiles of tables; see `bascule.project.profiling.mock`."""
        from bascule.project.profiling import mock

        names = [tables] if isinstance(tables, str) else tables
        return mock(self.place, names, rows=rows, seed=seed, at=at, private=private, output=output, into=into)

    def run(self, *, force: str = "", watcher: Watcher | None = None) -> Result:
        """Bring the branch up to date with the project: every step whose inputs changed runs, and no other."""
        from bascule.project.runner import run_project

        return run_project(self.file, self.workspace, self.place.branch, watcher, force=force)

    def step(self, name: str, *, force: str = "", watcher: Watcher | None = None) -> Receipt:
        """Run one step if its inputs changed, and return its receipt."""
        from bascule.project.runner import run_project

        done = run_project(self.file, self.workspace, self.place.branch, watcher, only=name, force=force)
        return done.receipts[0]

    def plan(self) -> list[Outlook]:
        """Return the steps, which of them would run, and why."""
        from bascule.project.why import outlook

        return outlook(self.file, self.workspace, self.place.branch)

    def why(self, step: str) -> Outlook:
        """Return why a step would run, or why there is nothing to do: which term of its cache key differs."""
        from bascule.errors import NotFound

        found = {row.step: row for row in self.plan()}
        if step not in found:
            raise NotFound("step", step, found)
        return found[step]
