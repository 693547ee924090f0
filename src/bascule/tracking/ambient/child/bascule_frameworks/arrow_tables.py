"""PyArrow: Parquet, CSV, JSON, Feather and datasets, which open files below Python."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks.tables import before_writing, note_table
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "pyarrow"


def wrap_parquet(module: ModuleType) -> None:
    """Look at `pyarrow.parquet`."""
    _readers(module, "parquet", read_table="source", read_pandas="source")
    _writers(module, "parquet", (0, "table"), (1, "where"), "write_table")
    wrap(
        FRAMEWORK,
        module,
        "write_to_dataset",
        partial(_wrote, name="parquet.write_to_dataset", table=(0, "table"), target=(1, "root_path")),
        before=before_writing,
    )
    wrap(FRAMEWORK, module.ParquetFile, "__init__", _opened)
    wrap(FRAMEWORK, module.ParquetDataset, "__init__", _gathered)
    wrap(FRAMEWORK, module.ParquetWriter, "__init__", _written, before=before_writing)


def wrap_csv(module: ModuleType) -> None:
    """Look at `pyarrow.csv`."""
    _readers(module, "csv", read_csv="input_file", open_csv="input_file")
    _writers(module, "csv", (0, "data"), (1, "output_file"), "write_csv")


def wrap_json(module: ModuleType) -> None:
    """Look at `pyarrow.json`."""
    _readers(module, "json", read_json="input_file", open_json="input_file")


def wrap_feather(module: ModuleType) -> None:
    """Look at `pyarrow.feather`."""
    _readers(module, "feather", read_table="source", read_feather="source")
    _writers(module, "feather", (0, "df"), (1, "dest"), "write_feather")


def wrap_dataset(module: ModuleType) -> None:
    """Look at `pyarrow.dataset`."""
    wrap(FRAMEWORK, module, "dataset", _dataset)
    wrap(
        FRAMEWORK,
        module,
        "write_dataset",
        partial(_wrote, name="dataset.write_dataset", table=(0, "data"), target=(1, "base_dir")),
        before=before_writing,
    )


def _readers(module: ModuleType, place: str, **names: str) -> None:
    for name, argument in names.items():
        wrap(FRAMEWORK, module, name, partial(_read, name=f"{place}.{name}", argument=argument))


def _writers(module: ModuleType, place: str, table: tuple[int, str], target: tuple[int, str], *names: str) -> None:
    for name in names:
        after = partial(_wrote, name=f"{place}.{name}", table=table, target=target)
        wrap(FRAMEWORK, module, name, after, before=before_writing)


def _read(call: Call, *, name: str, argument: str) -> None:
    note_table("r", f"pyarrow.{name}", call.get(0, argument), data=_table(call.result))


def _wrote(call: Call, *, name: str, table: tuple[int, str], target: tuple[int, str]) -> None:
    note_table("w", f"pyarrow.{name}", call.get(*target), data=_table(call.get(*table)))


def _table(data: Any) -> Any:
    """Return data whose rows can be counted without reading on."""
    return data if hasattr(data, "num_rows") or hasattr(data, "iloc") else None


def _opened(call: Call) -> None:
    file = call.args[0]
    columns = [(str(field.name), str(field.type)) for field in file.schema_arrow]
    note_table("r", "pyarrow.parquet.ParquetFile", call.get(1, "source"), rows=file.metadata.num_rows, columns=columns)


def _gathered(call: Call) -> None:
    source = call.get(1, "path_or_paths")
    files = getattr(call.args[0], "files", None)
    note_table("r", "pyarrow.parquet.ParquetDataset", list(files) if files else source)


def _written(call: Call) -> None:
    columns = [(str(field.name), str(field.type)) for field in call.get(2, "schema")]
    note_table("w", "pyarrow.parquet.ParquetWriter", call.get(1, "where"), columns=columns)


def _dataset(call: Call) -> None:
    data, source = call.result, call.get(0, "source")
    files = getattr(data, "files", None)
    columns = [(str(field.name), str(field.type)) for field in data.schema]
    is_local = bool(files) and type(getattr(data, "filesystem", None)).__name__ == "LocalFileSystem"
    note_table("r", "pyarrow.dataset.dataset", list(files) if is_local else source, columns=columns)
