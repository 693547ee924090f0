"""What the decoder of a model reads is what the general one reads, and the rest is left to that."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.protocols.openinference.messages import read_instance, read_single
from bascule.protocols.openinference.row import RowReader
from bascule.serving.encoding import Encoder
from bascule.training import Field, Output, Signature

INPUTS = (
    Field(name="class", type="double"),
    Field(name="how many", type="bigint"),
    Field(name="a 'quoted' ✓", type="boolean"),
    Field(name="carrier", type="varchar", categories=("AA", "UA", "")),
)
ENCODER = Encoder(Signature(inputs=INPUTS, output=Output(task="binary", classes=("0", "1"))))
READER = RowReader(ENCODER)
NAMES = [field.name for field in INPUTS]
WHOLE = [[1.5, None], [2, -(2**63), 2**63 - 1, None], [True, False, None], ["AA", "??", "", None]]
VALUES = st.sampled_from(
    [None, True, False, 0, 1, -3, 2**53 + 1, 2**63, 10**400, 0.5, 12.0, -0.0, 5e-324, 1e308, "", "UA", "x"]
)


def instance(row: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"instances": [row], **more}).encode()


@given(
    values=st.one_of(st.tuples(VALUES, VALUES, VALUES, VALUES), st.tuples(*map(st.sampled_from, WHOLE))),
    order=st.permutations(NAMES),
)
def test_a_row_is_read_as_the_general_decoder_reads_it(values: tuple[Any, ...], order: list[str]) -> None:
    row = dict(zip(NAMES, values, strict=True))
    body = instance({name: row[name] for name in order})
    found, general = READER.of_instance(body), read_instance(body)
    columns = {name: [value] for name, value in general.instances[0].items()} if general is not None else {}
    try:
        wanted = ENCODER.encode_one(columns) if columns else None
    except InputError:
        wanted = None
    if found is None:
        return
    assert wanted is not None
    assert READER.packed(found) == struct.pack("<4d", *wanted)
    assert repr(list(found)) == repr([columns[name][0] for name in NAMES])


@pytest.mark.parametrize("values", [(1.5, 2, True, "UA"), (3, 2, False, "??"), (None, None, None, None)])
def test_a_row_of_the_right_types_is_read(values: tuple[Any, ...]) -> None:
    found = READER.of_instance(instance(dict(zip(NAMES, values, strict=True))))
    assert found is not None
    assert list(found) == list(values)


@pytest.mark.parametrize(
    "body",
    [
        instance(dict.fromkeys(NAMES[1:])),
        instance(dict.fromkeys([*NAMES, "more"])),
        instance(dict.fromkeys(NAMES), id="mine"),
        instance(dict(zip(NAMES, (1.5, 2.5, True, "UA"), strict=True))),
        instance(dict(zip(NAMES, (True, 2, True, "UA"), strict=True))),
        instance(dict(zip(NAMES, (1.5, 2, True, 3), strict=True))),
        json.dumps({"instances": [dict.fromkeys(NAMES)] * 2}).encode(),
        b'{"instances": [{"class": NaN}]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_everything_else_is_left_alone(body: bytes) -> None:
    assert READER.of_instance(body) is None


def tensors(*sent: tuple[str, str, Any]) -> Any:
    inputs = [{"name": name, "shape": [1], "datatype": kind, "data": [value]} for name, kind, value in sent]
    found = read_single(msgspec.json.encode({"inputs": inputs}))
    assert found is not None
    return found.inputs


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "two\nlines", ""])
def test_any_name_may_be_an_inputs(name: str) -> None:
    reader = RowReader(Encoder(Signature(inputs=(Field(name=name, type="double"),), output=Output(task="regression"))))
    assert reader.of_instance(instance({name: 1.5})) in (None, (1.5,))
    assert reader.of_tensors(tensors((name, "FP64", 1.5))) == [1.5]


def test_tensors_are_a_row_when_they_are_the_inputs_in_order() -> None:
    assert RowReader(ENCODER).of_tensors([]) is None
    kinds = ("FP32", "INT64", "BOOL", "BYTES")
    right = list(zip(NAMES, kinds, (1.5, 2, True, "UA"), strict=True))
    for _ in range(2):  # what was right once is known, and is looked at all the same
        assert READER.of_tensors(tensors(*right)) == [1.5, 2, True, "UA"]
        assert READER.of_tensors(tensors(*reversed(right))) is None
        assert READER.of_tensors(tensors(*right[:3])) is None
        assert READER.of_tensors(tensors(*right, right[0])) is None
        for place, kind, value in ((0, "BOOL", True), (1, "FP64", 2.5), (2, "INT64", 1), (3, "FP64", 2.5)):
            wrong = list(right)
            wrong[place] = NAMES[place], kind, value
            assert READER.of_tensors(tensors(*wrong)) is None
    whole = [(NAMES[0], "INT64", 2**53 + 1), *right[1:]]
    assert READER.packed(READER.of_tensors(tensors(*whole)) or ())[:8] == struct.pack("<d", float(2**53 + 1))
