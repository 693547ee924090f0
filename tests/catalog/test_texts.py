"""A part of a text is found in any column and any case, and its signs mean themselves."""

from __future__ import annotations

from sqlalchemy import select

from bascule.catalog.schema import names
from bascule.catalog.texts import holding
from bascule.history import Workspace
from bascule.tracking.tracker import Tracker

SAID = ("Loss/Train", "50%_off", "50 off", "back\\slash", "Ähnlich", "O'Neill")
FOUND = {
    "loss/t": ["Loss/Train"],
    "%_": ["50%_off"],
    "0_o": [],
    "OFF": ["50 off", "50%_off"],
    "\\": ["back\\slash"],
    "/": ["Loss/Train"],
    "Äh": ["Ähnlich"],
    "'": ["O'Neill"],
}


def test_a_part_of_a_text_is_found(workspace: Workspace) -> None:
    Tracker(workspace).names.numbers(SAID)
    with workspace.catalog.read() as conn:
        for text, found in FOUND.items():
            sought = select(names.c.name).where(names.c.name.in_(SAID), holding(text, names.c.name))
            assert sorted(conn.execute(sought).scalars()) == found, text
