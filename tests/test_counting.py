"""Numbers with their nouns."""

from bascule.counting import counted


def test_the_noun_goes_with_the_number() -> None:
    said = [counted(0, "row"), counted(1, "row"), counted(2400, "row"), counted(2, "entry"), counted(2, "day")]
    assert said == ["0 rows", "1 row", "2,400 rows", "2 entries", "2 days"]
    assert [counted(n, "row or key", "rows or keys") for n in (1, 2)] == ["1 row or key", "2 rows or keys"]
