"""Models of clients that read texts and times: each is given what it was fitted on, and answers as it does itself."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.project.scoring import _said
from bascule.protocols.openinference.inputs import read_request
from bascule.protocols.openinference.plain import read_predict
from bascule.serving.encoding import Encoder
from bascule.serving.http import Request
from bascule.serving.mlmodel import bundle_of, bundle_of_pickles
from bascule.serving.model import LoadedModel
from bascule.serving.optimizing.candidates import RAW
from bascule.serving.optimizing.search import Asked, optimize_bundle
from bascule.serving.pickled import PickledRuntime, cells
from bascule.serving.rows import Rows
from bascule.serving.runtime import load_runtime
from bascule.serving.service import Service
from bascule.serving.workers import Lane, Program, WorkerRuntime, wire
from bascule.training import Field, Output, Signature, encode, unpack_model
from bascule.training.background import background_of, pack_background, unpack_background
from tests.serving.test_mlmodel import mlmodel, reader

sklearn = pytest.importorskip("sklearn")
pandas = pytest.importorskip("pandas")
skops = pytest.importorskip("skops.io")
cloudpickle = pytest.importorskip("cloudpickle")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402

TEXTS = ["good film", "bad film", "very good 日本", "awful bad thing", "nice", "terrible"] * 4
LABELS = np.array(["pos", "neg"] * 12)
HARD = ["", "good", "日本 film\x00bad", "  GOOD nice", "unseen", "film " * 5_000]
FRAME = pandas.DataFrame(
    {"city": ["Rome", "Oslo", "Bern"] * 8, "review": TEXTS, "age": [30.0, 40, 50, 20, 33, 61, 18, 75] * 3}
)
COLUMNS = [{"type": "string", "name": "city"}, {"type": "string", "name": "review"}, {"type": "double", "name": "age"}]
TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "object", "shape": [-1]}}]


def tfidf(last: Any = None, labels: Any = LABELS) -> Any:
    return make_pipeline(TfidfVectorizer(), last or LogisticRegression()).fit(TEXTS, labels)


def mixed(unseen: str = "error") -> Any:
    columns = ColumnTransformer(
        [
            ("city", OneHotEncoder(handle_unknown=unseen), ["city"]),
            ("text", TfidfVectorizer(), "review"),
            ("age", StandardScaler(), ["age"]),
        ]
    )
    return make_pipeline(columns, RandomForestClassifier(5, random_state=0)).fit(FRAME, LABELS)


def files_of(held: Any, inputs: Any = None, example: Any = None, name: str = "m.pkl") -> dict[str, bytes]:
    """Return a model's folder as MLflow writes it; the pickle alone where nothing is said."""
    data = skops.dumps(held) if name.endswith("skops") else cloudpickle.dumps(held)
    if inputs is None and example is None:
        return {name: data}
    about = json.loads(mlmodel("sklearn", inputs, pickled_model=name))
    if example is None:
        return {"MLmodel": json.dumps(about).encode(), name: data}
    about["saved_input_example_info"] = {"artifact_path": "input_example.json"}
    return {"MLmodel": json.dumps(about).encode(), name: data, "input_example.json": json.dumps(example).encode()}


@pytest.fixture
def loaded() -> Iterator[Callable[[Mapping[str, bytes]], LoadedModel]]:
    """Makes the bundle of a model and loads it: in a process of its own, if its files run code."""
    runtimes: list[PickledRuntime] = []

    def load(files: Mapping[str, bytes]) -> LoadedModel:
        if any(name.endswith(".skops") for name in files):
            bundle = unpack_model(bundle_of(reader(files), {}))
            return LoadedModel("m", 1, bundle, load_runtime(bundle))
        bundle = unpack_model(bundle_of_pickles(files, "m@1", {}))
        runtimes.append(PickledRuntime(bundle, "models/m@1", lambda digest: True))
        return LoadedModel("m", 1, bundle, runtimes[-1])

    yield load
    for one in runtimes:
        one.allowed = False


def asked(model: LoadedModel, **columns: list[Any]) -> list[Any]:
    return model.score(Rows(len(next(iter(columns.values()))), columns), 0)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inputs", "example", "column"),
    [
        ("m.skops", None, TEXTS[:9], "text"),  # what `log_model(…, input_example=texts)` writes: no signature
        ("m.skops", TENSOR, None, "text"),
        ("m.skops", [COLUMNS[1]], None, "review"),
        ("m.pkl", None, None, "text"),  # the pipeline itself says that it reads texts
        ("m.pkl", None, TEXTS[:9], "text"),
        ("m.pkl", [{"type": "string", "required": True}], None, "text"),
    ],
)
def test_a_pipeline_over_one_text_a_row(
    loaded: Callable[..., LoadedModel], name: str, inputs: Any, example: Any, column: str
) -> None:
    held = tfidf()
    model = loaded(files_of(held, inputs, example, name))
    assert [(one.name, one.type) for one in model.signature.inputs] == [(column, "varchar")]
    assert model.classes == ("neg", "pos")
    assert model.inline_rows == 0  # a long text must not hold up others
    wanted = [held.predict_proba([text])[0, 1] for text in HARD]
    assert [asked(model, **{column: [text]})[0] for text in HARD] == wanted
    assert asked(model, **{column: HARD}) == pytest.approx(wanted, abs=1e-15)
    with pytest.raises(InputError, match=rf"The column '{column}' of row 0 is missing, and the model takes no missing"):
        asked(model, **{column: [None]})
    with pytest.raises(InputError, match=rf"The column '{column}' needs a text; row 0 has 3\."):
        asked(model, **{column: [3]})
    assert asked(model, **{column: ["good"]}) == [wanted[1]]  # the process lives


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.pkl", "m.skops"])
@pytest.mark.parametrize("classes", [("neg", "pos"), ("a", "b", "ç")])
def test_labels_that_are_texts_need_no_probabilities(
    loaded: Callable[..., LoadedModel], name: str, classes: tuple[str, ...]
) -> None:
    held = tfidf(LinearSVC(), np.array([classes[at % len(classes)] for at in range(24)]))
    model = loaded(files_of(held, TENSOR, None, name))
    outputs = asked(model, text=HARD)
    assert model.classes == classes
    if len(classes) == 2:
        assert [classes[int(one)] for one in outputs] == held.predict(HARD).tolist()
    else:
        assert [classes[int(np.argmax(one))] for one in outputs] == held.predict(HARD).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False])
def test_texts_beside_numbers(loaded: Callable[..., LoadedModel], told: bool) -> None:
    """With a signature and without: then the pipeline's own steps say which columns are texts."""
    held = mixed()
    model = loaded(files_of(held, COLUMNS if told else None))
    assert [(one.name, one.type) for one in model.signature.inputs] == [
        ("city", "varchar"),
        ("review", "varchar"),
        ("age", "double"),
    ]
    rows = {"city": ["Rome", "Oslo", "Bern"], "review": ["", "日本\x00", "nice"], "age": [30.0, float("nan"), -1e9]}
    wanted = held.predict_proba(pandas.DataFrame(rows))[:, 1].tolist()
    assert asked(model, **{**rows, "age": [30.0, None, -1e9]}) == wanted
    assert [asked(model, **{key: [held[at]] for key, held in rows.items()})[0] for at in range(3)] == wanted
    with pytest.raises(InputError, match="The column 'city' of row 1 has 'Lima', which the model does not know"):
        asked(model, **{**rows, "city": ["Rome", "Lima", "Oslo"]})
    with pytest.raises(InputError, match="The columns 'review', 'age' of row 1 are missing"):
        asked(model, city=["Rome", "Oslo"], review=["", None], age=[1.0, None])
    table = pa.table({**rows, "more": [1, 2, 3]})
    assert model.predict(encode(model.signature, table)).tolist() == wanted  # as tables are scored
    with pytest.raises(InputError, match="The column 'city' of row 0 has 'Lima'"):
        _said(model, encode(model.signature, pa.table({"city": ["Lima"], "review": [""], "age": [1.0]})))
    with pytest.raises(InputError, match="'review' has the type int64"):
        encode(model.signature, pa.table({"city": ["Lima"], "review": [1], "age": [1.0]}))


class Typed:
    """Answers by the types of the columns that it gets."""

    feature_names_in_ = np.array(["at", "n", "ok", "word"])

    def predict(self, rows: Any) -> Any:
        kinds = [str(rows[name].dtype) for name in self.feature_names_in_[:3]]
        assert kinds[0] == "datetime64[ns]", kinds
        whole = 100.0 if kinds[1] == "int64" and kinds[2] == "bool" else 0.0
        return whole + rows["at"].dt.year.fillna(0) + rows["word"].isna() * 0.5


@pytest.mark.slow
def test_times_and_optional_columns(loaded: Callable[..., LoadedModel]) -> None:
    kinds = {"at": "datetime", "n": "long", "ok": "boolean", "word": "string"}
    inputs = [{"name": name, "type": kind, "required": name != "word"} for name, kind in kinds.items()]
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        model = loaded(files_of(Typed(), inputs))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    plain = {"n": [1, 2], "ok": [True, False]}
    assert asked(model, at=["2026-03-01T23:30:00-02:00", "1969-12-31"], word=["a", None], **plain) == [2126.0, 2069.5]
    assert asked(model, at=[0, None], **plain) == [2070.5, 100.5]  # a column that may be left out is missing then
    assert asked(model, at=[0, 0], word=["", ""], n=[1, None], ok=[True, False]) == [1970.0, 1970.0]
    with pytest.raises(InputError, match=r"'at' needs a time such as 2026.*row 1 has 'soon'"):
        asked(model, at=["2026-03-01", "soon"], **plain)
    with pytest.raises(InputError, match="no column 'ok'"):
        asked(model, at=["2026-03-01"], n=[1])
    moments = pa.array([0, None], pa.timestamp("ms", "Europe/Rome"))
    assert encode(model.signature, pa.table({"at": moments, **plain}))[:, 0].tolist() == [0, None]


@pytest.mark.slow
def test_a_booster_over_categories_of_pandas(loaded: Callable[..., LoadedModel]) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rows = FRAME[["city", "age"]].assign(city=FRAME["city"].astype("category"))
    held = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=2, verbose=-1).fit(rows, FRAME["city"] == "Rome")
    example = {"columns": ["city", "age"], "data": [["Rome", 1.0], ["Bern", 2.0]]}  # of which MLflow makes no signature
    model = loaded(files_of(held, None, example))
    given_rows = {"city": ["Rome", "Bern", "Lima", None], "age": [30.0, 40.0, 50.0, None]}
    known = pandas.Categorical(["Rome", "Bern", None, None], categories=["Bern", "Oslo", "Rome"])
    wanted = held.predict_proba(pandas.DataFrame({"city": known, "age": given_rows["age"]}))[:, 1].tolist()
    assert len(set(wanted[:2])) == 2
    assert asked(model, **given_rows) == wanted
    assert asked(model, city=["Rome"], age=[30.0]) == wanted[:1]
    with pytest.raises(InputError, match="nothing says which are texts; log the model with a signature"):
        loaded(files_of(held))


@pytest.mark.slow
def test_what_texts_add_is_told_and_no_other_engine_reads_them(loaded: Callable[..., LoadedModel]) -> None:
    example = {"columns": list(FRAME.columns), "data": FRAME.head(12).values.tolist()}
    files = files_of(mixed("ignore"), COLUMNS, example)
    packed = bundle_of_pickles(files, "m@1", {})
    bundle, model = unpack_model(packed), loaded(files)
    assert bundle.background is not None
    assert set(bundle.background[:, 0].tolist()) == {"Rome", "Oslo", "Bern"}
    matrix = model.encoder.encode({"city": ["Rome"], "review": ["good 日本"], "age": [None]}, 1)
    first, again = model.explainer.tell(matrix).values, model.explainer.tell(matrix).values
    assert first.sum() == pytest.approx(asked(model, city=["Rome"], review=["good 日本"], age=[None])[0])
    assert np.abs(first[0, 0, :3]).max() > 0
    assert first.tolist() == again.tolist()
    runtime = model.runtime
    assert isinstance(runtime, PickledRuntime)
    found = optimize_bundle(packed, bundle, matrix, Asked(sizes=(1,), seconds=0.1), own=runtime)
    assert {one.reason for one in found.candidates} == {"", RAW}


def test_a_tensor_of_texts_whatever_it_is_called(loaded: Callable[..., LoadedModel]) -> None:
    model = loaded(files_of(tfidf(), TENSOR, None, "m.skops"))
    for shape, data in (([2], ["good", "bad"]), ([2, 1], [["good"], ["bad"]]), ([1], ["good"]), ([1, 1], ["good"])):
        for name in ("text", "anything"):
            tensor = {"name": name, "shape": shape, "datatype": "BYTES", "data": data}
            _, rows = read_request(json.dumps({"inputs": [tensor]}).encode(), None, model)
            assert rows.columns is not None
            assert list(rows.columns) == ["text"]
            assert list(rows.columns["text"]) == ["good", "bad"][: shape[0]]
    held = b"".join(struct.pack("<I", len(one)) + one for one in (b"good", b"\xe6\x97\xa5\x00"))
    tensor = {"name": "x", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(held)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    _, rows = read_request(head + held, str(len(head)).encode(), model)
    assert rows.columns == {"text": ["good", "日\x00"]}


@pytest.mark.slow
def test_rows_of_texts_in_every_form(loaded: Callable[..., LoadedModel]) -> None:
    """Split, records, lists, CSV, Arrow, tensors: all are the same rows, and are answered alike."""
    held = mixed("ignore")
    model = loaded(files_of(held, COLUMNS))
    rows = pandas.DataFrame({"city": ["Rome", "Lima"], "review": ["good \u65e5\x00", "bad"], "age": [3.5, -1.0]})
    records = rows.to_dict("records")
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    bodies: list[tuple[bytes, Any]] = [
        (b"", {"instances": records}),
        (b"", {"instances": rows.values.tolist()}),
        (b"", {"dataframe_records": records}),
        (b"", {"dataframe_split": {"columns": list(rows.columns), "data": rows.values.tolist()}}),
        (b"", {"inputs": rows.to_dict("list")}),
        (b"text/csv", rows.to_csv(index=False).encode()),
        (b"application/vnd.apache.arrow.stream", sink.getvalue().to_pybytes()),
    ]
    wanted = held.predict_proba(rows)[:, 1].tolist()
    for kind, body in bodies:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        _, found = read_predict(Request(b"POST", b"/invocations", {b"content-type": kind}, data), model)
        assert model.score(found, 0)[0] == wanted, kind or body


@pytest.mark.slow
def test_workers_are_given_texts(loaded: Callable[..., LoadedModel]) -> None:
    files = files_of(tfidf(), TENSOR, None, "m.skops")
    packed = bundle_of(reader(files), {})
    own = loaded(files)
    with closing(Lane(Program("m", 1, packed), Service(workers=1))) as lane:
        model = LoadedModel("m", 1, unpack_model(packed), WorkerRuntime(lane))
        assert asked(model, text=HARD) == asked(own, text=HARD)
        assert asked(model, text=["good"]) == asked(own, text=["good"])
        assert model.runtime.predict_one(["good"]) == asked(own, text=["good"])  # type: ignore[list-item]
        with pytest.raises(InputError, match="The column 'text' of row 0 is missing"):
            asked(model, text=[None])


CELL = st.none() | st.text(alphabet=st.characters(), max_size=5)


@given(
    st.lists(
        st.tuples(
            CELL,
            st.floats(allow_nan=False),
            st.none() | st.integers(1 - 2**63, 2**63 - 1),
            CELL,
            st.sampled_from([1.0, 0.0, np.inf]),
        ),
        max_size=4,
    )
)
def test_rows_arrive_as_they_were_sent(rows: list[Any]) -> None:
    matrix = np.empty((len(rows), 5), dtype=object)
    for place, row in enumerate(rows):
        matrix[place] = row
    message, data = cells.pack(matrix, (0, 3), (2,))
    found = cells.unpack(json.loads(json.dumps(message)), bytearray(data))
    assert found.tolist() == [list(row) for row in rows]
    assert [[type(one) for one in row] for row in found.tolist()] == [[type(one) for one in row] for row in rows]


def test_half_a_pair_of_surrogates_arrives() -> None:
    matrix = np.array([["a\ud800"]], dtype=object)
    assert cells.unpack(*cells.pack(matrix, (0,), ())).tolist() == [["a\ud800"]]


def test_objects_are_kept_and_sent_to_workers() -> None:
    inputs = tuple(
        Field(name=name, type=kind) for name, kind in (("a", "varchar"), ("t", "timestamp"), ("n", "double"))
    )  # type: ignore[arg-type]
    signature = Signature(inputs=inputs, output=Output(task="regression"))
    columns = {"a": ["b", None, ""], "t": [3, None, "1970-01-01"], "n": [0.5, None, 2]}
    matrix = Encoder(signature).encode(columns, 3)
    assert matrix[:2, :2].tolist() == [["b", 3], [None, None]]
    assert matrix[2].tolist() == ["", 0, 2.0]
    sent = wire.unpacked(json.loads(json.dumps(wire.packed(matrix[[0, 2]]))))
    assert (sent.dtype, sent.tolist()) == (object, [["b", 3, 0.5], ["", 0, 2.0]])
    known = background_of(matrix)
    kept = unpack_background(pack_background(known), 3, is_raw=True)
    assert kept[:, :2].tolist() == known[:, :2].tolist()
    assert {str(one) for one in kept[:, 0]} == {"", "b", "None"}
    with pytest.raises(InputError, match="its background is no rows"):
        unpack_background(pack_background(known), 2, is_raw=True)


def test_a_pickle_is_never_opened_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads texts is loaded where all pickles are."""
    held = pickle.dumps(tfidf())

    def refuse(*given_to: Any, **more: Any) -> None:
        raise AssertionError("unpickled here")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    assert unpack_model(bundle_of_pickles({"m.pkl": held}, "m@1", {})).signature.is_raw
