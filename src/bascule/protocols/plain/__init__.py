"""Plain files: what a project holds, in formats that need no Bascule, so that anyone can leave any day.

Tables become Parquet, models the files of their own libraries (with ONNX beside them where they can be said in it),
contracts stay ODCS, sets of files become folders again, records become Parquet. It only reads.
"""

from bascule.protocols.plain.export import Exported, export
from bascule.protocols.plain.item import Item

__all__ = ["Exported", "Item", "export"]
