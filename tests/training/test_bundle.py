from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.errors import InputError, NotFound
from bascule.store import digest_of
from bascule.training import (
    ModelBundle,
    Output,
    TrainedModel,
    TrainerSettings,
    TrainingData,
    pack_model,
    train,
    unpack_model,
)

Make = Callable[..., TrainingData]


@pytest.fixture(scope="module")
def data(made_data: Make) -> TrainingData:
    return made_data("binary")


@pytest.fixture(scope="module")
def model(data: TrainingData) -> TrainedModel:
    return train(data, settings=TrainerSettings(trials=0))


@pytest.fixture(scope="module")
def packed(model: TrainedModel) -> bytes:
    return pack_model(model, {"name": "delays", "features": ["x"]}, {"training_set": "abc"})


def test_what_was_packed_comes_back(data: TrainingData, model: TrainedModel, packed: bytes) -> None:
    bundle = unpack_model(packed)
    assert bundle.signature == model.signature
    assert bundle.baseline == model.baseline
    assert bundle.feature_set == {"name": "delays", "features": ["x"]}
    assert bundle.params == model.params
    assert bundle.meta["training_set"] == "abc"
    assert set(bundle.meta["libraries"]) == {"lightgbm", "optuna"}
    assert bundle.digest == digest_of(packed)
    assert (bundle.predict(data.validation.rows) == model.predict(data.validation.rows)).all()
    assert bundle.predict(data.validation.rows.slice(0, 0)).shape == (0,)


def test_equal_content_gives_equal_bytes_whatever_the_order_of_its_maps(model: TrainedModel) -> None:
    first = pack_model(model, {"a": 1, "b": {"c": 2, "d": 3}}, {"x": 1, "y": 2})
    second = pack_model(model, {"b": {"d": 3, "c": 2}, "a": 1}, {"y": 2, "x": 1})
    assert first == second


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="not a Bascule model"):
        unpack_model(data)


def test_a_pickle_is_refused_without_being_read() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('ran')",))

    with pytest.raises(InputError, match="not a Bascule model"):
        unpack_model(pickle.dumps(Trap()))


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_no_part_of_a_file_passes_for_the_whole(packed: bytes, data: st.DataObject) -> None:
    with pytest.raises(InputError):
        unpack_model(packed[: data.draw(st.integers(0, len(packed) - 1))])


def test_a_changed_model_is_refused(packed: bytes) -> None:
    place = packed.index(b"leaf_value=") + 14
    changed = packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :]
    with pytest.raises(InputError, match="differs from its digest"):
        unpack_model(changed)


def test_a_later_revision_asks_for_an_update(packed: bytes) -> None:
    later = {**msgspec.msgpack.decode(packed), "revision": 99}
    with pytest.raises(InputError, match="revision 99") as error:
        unpack_model(msgspec.msgpack.encode(later))
    assert "upgrade" in error.value.hint
    broken = {**msgspec.msgpack.decode(packed), "signature": {"inputs": 3}}
    with pytest.raises(InputError, match="damaged"):
        unpack_model(msgspec.msgpack.encode(broken))


def bundle_of(model: TrainedModel, **changes: object) -> ModelBundle:
    return unpack_model(pack_model(replace(model, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", [b"", b"tree\n", b"\xff\xff", b"tree\nmax_feature_idx=3\nnum_class=1\n\nTree=0\n", b"not a tree"]
)
def test_bytes_that_are_no_lightgbm_model_never_reach_its_parser(
    data: TrainingData, model: TrainedModel, text: bytes
) -> None:
    with pytest.raises(InputError, match="not a LightGBM model"):
        bundle_of(model, artifact=text).predict(data.validation.rows)


def test_a_model_must_belong_to_its_signature(data: TrainingData, model: TrainedModel) -> None:
    signature = msgspec.structs.replace(data.signature, inputs=data.signature.inputs[:2])
    with pytest.raises(InputError, match="does not belong to its signature"):
        bundle_of(model, signature=signature).predict(data.validation.rows)
    classes = msgspec.structs.replace(data.signature, output=Output(task="multiclass", classes=("a", "b", "c")))
    with pytest.raises(InputError, match="does not belong to its signature"):
        bundle_of(model, signature=classes).predict(data.validation.rows)


def test_an_unknown_format_is_not_found(data: TrainingData, model: TrainedModel) -> None:
    with pytest.raises(NotFound) as error:
        bundle_of(model, format="lightgmb").predict(data.validation.rows)
    assert "lightgbm" in error.value.hint


def test_the_baseline_travels_along(data: TrainingData, model: TrainedModel, packed: bytes) -> None:
    baseline = unpack_model(packed).baseline
    assert baseline is not None
    assert baseline.predict(data.matrix(data.validation)).shape == data.validation.label.shape
    assert np.isclose(sum(baseline.prior), 1)
