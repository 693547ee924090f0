"""Contracts from what other tools say of a table, where the meaning is equal; what is not, is told."""

from bascule.contracts.importing.draft import Imported, NotImported
from bascule.contracts.importing.read import FORMS, import_contract

__all__ = ["FORMS", "Imported", "NotImported", "import_contract"]
