"""The numbers by which CatBoost knows texts, as it said them itself, and the way back to a text of a number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.serving.encoding import LONGEST_TEXT, Encoder
from bascule.training import Field, Output, Signature, encode, read_signature, texthash
from bascule.training.texthash import TextHashes, hash_of, texts_of

# What CatBoost 1.2.10 wrote for texts of each way of reckoning: by their length.
KNOWN = {
    "": 797982799,
    "ab": 4090249022,
    "Oslo": 4260450586,
    "0123456789": 2060700213,
    "0123456789abcdefXYZ": 3736446665,
    "x" * 40: 3236838547,
    "é" * 50: 1308229386,
    "y" * 128: 1778832667,
}
FIELDS = (Field(name="city", type="varchar", categories=("Oslo",), hashed=True), Field(name="x", type="double"))
SIGNATURE = Signature(inputs=FIELDS, output=Output(task="regression"))


@pytest.mark.parametrize(("text", "number"), KNOWN.items())
def test_a_text_has_catboosts_number(text: str, number: int) -> None:
    assert hash_of(text) == number == TextHashes().get(text)


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_each_number_has_a_text(numbers: list[int]) -> None:
    texts = texts_of(np.array(numbers, dtype=np.float64))
    assert [texthash._city(one) & 0xFFFFFFFF for one in texts] == numbers


def test_texts_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bascule.training.texthash._MOST_KEPT", 10)
    held = TextHashes()
    assert [held[str(one)] for one in range(100)] == [float(hash_of(str(one))) for one in range(100)]
    assert len(held) <= 10


def test_rows_are_encoded_alike_for_training_and_for_serving() -> None:
    texts = ["Oslo", "unseen", None, "", "Oslo", "日本"]
    table = pa.table({"city": pa.array(texts).dictionary_encode(), "x": [1.0] * 6})
    wanted = [np.nan if one is None else float(hash_of(one)) for one in texts]
    for rows in (table, pa.table({"city": pa.chunked_array([texts[:2], texts[2:]]), "x": [1.0] * 6})):
        np.testing.assert_array_equal(encode(SIGNATURE, rows)[:, 0], wanted)
    columns = {"city": texts, "x": [1.0] * 6}
    np.testing.assert_array_equal(Encoder(SIGNATURE).encode(columns, 6)[:, 0], wanted)
    singles = [Encoder(SIGNATURE).encode_one({"city": [one], "x": [1.0]})[0] for one in texts]
    np.testing.assert_array_equal(singles, wanted)
    assert encode(SIGNATURE.by_place(), table)[:, 0].tolist()[:1] == [0.0]


def test_a_signature_without_such_texts_is_written_as_ever() -> None:
    assert "hashed" not in SIGNATURE.by_place().as_dict()["inputs"][0]
    assert read_signature(SIGNATURE.as_dict()) == SIGNATURE


def test_a_long_text_is_not_remembered() -> None:
    held = TextHashes()
    assert held["long" * 1_000] == held.get("long" * 1_000) == float(hash_of("long" * 1_000))
    assert not held


def test_a_text_that_is_far_too_long_for_a_category_is_refused_whichever_way_it_comes() -> None:
    encoder, longest = Encoder(SIGNATURE), "y" * LONGEST_TEXT
    for text in (longest, longest + "y"):
        for ask in (
            lambda text: encoder.encode_one({"city": [text], "x": [1.0]})[0],
            lambda text: encoder.encode({"city": ["Oslo", text], "x": [1.0, 2.0]}, 2)[1, 0],
            lambda text: encoder.slots[0].codes.get(text, np.nan),
        ):
            if text is longest:
                assert ask(text) == hash_of(text)
                continue
            with pytest.raises(InputError, match="'city' has a text of 4,097 characters; a category has 4,096"):
                ask(text)
