"""Times of events that are finer than a microsecond: cut, never rounded into a later window."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.features.streams.events import EventType

KIND = EventType("clicks", {"at": "time", "seen": "time", "said": "text", "n": "integer"}, "at")
LAST = datetime(2025, 1, 1, 0, 0, 59, 999999, tzinfo=UTC)
FINE = {
    "2025-01-01T00:00:59.9999995Z": LAST,
    "2025-01-01T02:00:59.999999999+02:00": LAST,
    "1969-12-31T23:59:59.9999999Z": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "2025-01-01T00:00:59.999999Z": LAST,
}


def test_no_event_comes_into_a_later_window_by_its_last_digits() -> None:
    said = "at 10:00:59.9999999"  # a text is left as it is
    messages = [
        msgspec.json.encode({"at": text, "seen": text, "said": said, "n": 2**63 - 1, "more": 1e300}) for text in FINE
    ]
    found = KIND.read(messages, lambda place: ("clicks", place))
    assert found.rejected == []
    assert found.rows.column("at").to_pylist() == found.rows.column("seen").to_pylist() == list(FINE.values())
    assert set(found.rows.column("said").to_pylist()) == {said}
    assert set(found.rows.column("n").to_pylist()) == {2**63 - 1}
    rows = [{"at": text, "said": said, "n": "3"} for text in (*FINE, "1735689659.9999999")]
    listed = KIND.read_rows(enumerate(rows, 1), "clicks.csv")
    assert listed.rejected == []
    assert listed.rows.column("at").to_pylist() == [*FINE.values(), LAST]
    assert set(listed.rows.column("said").to_pylist()) == {said}


def test_seconds_since_1970_are_cut_downwards_however_they_are_written() -> None:
    before = {
        "-0.0000001": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "-1.0000009": datetime(1969, 12, 31, 23, 59, 58, 999999, tzinfo=UTC),
        "-1.5": datetime(1969, 12, 31, 23, 59, 58, 500000, tzinfo=UTC),
        "-2": datetime(1969, 12, 31, 23, 59, 58, tzinfo=UTC),
        "1.7356896599999999e9": LAST,
    }
    listed = KIND.read_rows(enumerate(({"at": text} for text in (*before, "1.5e99", "1.5e15")), 1), "clicks.csv")
    assert listed.rows.column("at").to_pylist() == list(before.values())
    assert [one.line for one in listed.rejected] == [6, 7]


def test_seconds_far_from_1970_are_the_moment_that_is_written_or_set_aside() -> None:
    texts = ["106776631344.158053", "253402300799.9999999", "-62135596800.000", "1." + "9" * 60]
    beyond = ["253402300800", "253402300800.5", "-62135596800.0000001", "-62135596801"]
    listed = KIND.read_rows(enumerate(({"at": text} for text in (*texts, *beyond)), 1), "clicks.csv")
    moments = [106_776_631_344_158_053, 253_402_300_799_999_999, -62_135_596_800_000_000, 1_999_999]
    assert listed.rows.column("at").cast(pa.int64()).to_pylist() == moments
    assert [one.line for one in listed.rejected] == [5, 6, 7, 8]


def test_times_in_nanoseconds_that_would_change_are_refused_in_arrow() -> None:
    fine = pa.table({"at": pa.array([1_735_689_659_999_999_999], pa.timestamp("ns", "UTC"))})
    with pytest.raises(InputError, match="Column 'at' is timestamp"):
        KIND.read_arrow(fine)


def test_the_last_time_of_all_is_cut_before_it_is_read() -> None:
    """Rounded it would be of the year 10000; .NET writes it where others write nothing."""
    found = KIND.read([b'{"at": "9999-12-31T23:59:59.9999999Z"}', b'[":00.0000000"]'], lambda place: ("clicks", place))
    assert found.rows.column("at").to_pylist() == [datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
    assert [one.line for one in found.rejected] == [1]
