"""What a run keeps of figures and tables: bytes, and the name that says what they are."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any


def of_figure(name: str, figure: Any) -> tuple[bytes, str]:
    """Return a figure of Matplotlib, Plotly or Altair, or an image of Pillow, as PNG or JSON, and its name.

    Raises:
        TypeError: for anything else.
    """
    out = io.BytesIO()
    stem, suffix = os.path.splitext(name)
    if hasattr(figure, "savefig"):
        figure.savefig(out, format=(suffix or ".png")[1:], bbox_inches="tight")
        return out.getvalue(), name if suffix else f"{name}.png"
    if hasattr(figure, "to_json"):
        return str(figure.to_json()).encode(), f"{stem}.json"
    if hasattr(figure, "save") and hasattr(figure, "mode"):
        figure.save(out, format="PNG")
        return out.getvalue(), f"{stem}.png"
    raise TypeError(f"{type(figure).__name__} is no figure: it can neither savefig, nor to_json, nor save.")


def of_table(name: str, rows: Any) -> tuple[bytes, str]:
    """Return a table of pandas, Polars or Arrow, a list of dicts or a dict of columns as Parquet, and its name.

    Raises:
        TypeError: for anything else.
    """
    import pyarrow
    import pyarrow.parquet

    if isinstance(rows, pyarrow.Table):
        table = rows
    elif hasattr(rows, "to_arrow"):
        table = rows.to_arrow()
    elif hasattr(rows, "__dataframe__") and hasattr(rows, "iloc"):
        table = pyarrow.Table.from_pandas(rows)
    elif isinstance(rows, Mapping):
        table = pyarrow.table(dict(rows))
    elif isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows):
        table = pyarrow.Table.from_pylist(rows)
    else:
        raise TypeError(f"{type(rows).__name__} is no table: give a data frame, a list of dicts or a dict of lists.")
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression="zstd")
    return out.getvalue(), name if name.endswith(".parquet") else f"{name}.parquet"
