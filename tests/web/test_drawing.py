"""Charts, graphs and lanes: what is drawn is what was measured, and nothing lies on anything else."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bascule.evaluation import Calibration, CalibrationBin
from bascule.server.reads.history import CommitInfo
from bascule.web.calibration import reliability
from bascule.web.charts import Line, Mark, bars, chart, sparkline
from bascule.web.graph import Edge, Node, layout, order
from bascule.web.lanes import lanes

US = 1_000_000
FINITE = st.floats(-1e9, 1e9, allow_nan=False)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_a_line_goes_through_its_points() -> None:
    made = chart("auc", [Line("auc", [0, 10, 20], [0.0, 0.5, 1.0])], time=False)
    assert points(made.lines[0].path) == [(0, 100), (500, 50), (1000, 0)]
    assert [label.text for label in made.y_labels] == ["0.00", "0.25", "0.50", "0.75", "1.00"]


@example([(0.0, 0.0), (0.0, 5e-324)])
@example([(0.0, 0.0), (1.0, 1e-200)])
@given(st.lists(st.tuples(FINITE, FINITE | st.just(math.nan)), min_size=1, max_size=50))
def test_everything_stays_inside(values: list[tuple[float, float]]) -> None:
    xs, ys = [x for x, _ in values], [y for _, y in values]
    made = chart("any", [Line("any", xs, ys, ys, ys)], time=False)
    for line in made.lines:
        for x, y in points(line.path):
            assert 0 <= x <= 1000
            assert -0.01 <= y <= 100.01
    drawn = sum(len(points(line.path)) for line in made.lines)
    assert drawn == sum(math.isfinite(y) for y in ys)
    places = [label.place for label in made.y_labels]
    assert places == sorted(places, reverse=True)
    assert len(places) <= 8


def test_a_gap_is_not_bridged() -> None:
    made = chart("x", [Line("x", [0, 1, 2, 3], [1.0, None, 3.0, math.inf])], time=False)
    assert made.lines[0].path.count("M") == 2
    assert made.rows[1] == ["1", ""]


def test_times_are_said_in_utc() -> None:
    day = 86_400 * US
    made = chart("x", [Line("x", [0, 30 * day], [1.0, 2.0])])
    assert [label.text for label in made.x_labels][:2] == ["1 Jan", "8 Jan"]
    hours = chart("x", [Line("x", [0, 3600 * US], [1.0, 2.0])])
    assert [label.text for label in hours.x_labels][:2] == ["00:00", "00:15"]
    assert hours.rows[0][0] == "1970-01-01 00:00:00"


def test_marks_are_in_the_picture() -> None:
    made = chart("x", [Line("x", [0, 10], [1.0, 2.0])], time=False, marks=[Mark("limit", y=5.0), Mark("then", x=99)])
    assert [mark.label for mark in made.marks] == ["limit"]
    assert float(made.y_labels[-1].text) >= 5


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["start", "promote", "rollback", "alert"])), max_size=30))
def test_words_of_near_moments_do_not_lie_on_each_other(moments: list[tuple[float, str]]) -> None:
    made = chart("x", [Line("x", [0, 100], [1.0, 2.0])], time=False, marks=[Mark(w, x=x) for x, w in moments])
    assert len(made.marks) == len(moments), "the lines are all there"
    plot = 210  # pixels, on a phone
    spans = []
    for mark in made.marks:
        assert mark.x is not None
        at, wide = mark.x * plot / 100, 6 * len(mark.label)
        if mark.label:
            spans.append((mark.row, at - wide if mark.x > 70 else at, at if mark.x > 70 else at + wide))
    for one in spans:
        assert one[0] < 4
        for other in spans:
            assert one is other or one[0] != other[0] or one[2] <= other[1] or other[2] <= one[1]
    if moments:
        assert made.marks[0].label == moments[0][1]


def test_words_of_near_limits_stand_on_two_sides() -> None:
    limits = [Mark("limit", y=1.9), Mark("at release", y=1.95), Mark("far", y=1.1)]
    made = chart("x", [Line("x", [0, 1], [1.0, 2.0])], time=False, marks=limits)
    assert [(mark.label, mark.left) for mark in made.marks] == [("limit", False), ("at release", True), ("far", False)]


def test_a_chart_says_what_it_shows() -> None:
    made = chart("auc", [Line("train", [0, 1], [0.5, 0.75]), Line("test", [0], [0.25])], time=False, x_unit="step")
    assert made.said == "auc, from 0 to 1 (step); last: train 0.75, test 0.25"
    assert chart("auc", []).said == "auc"


def test_data_cannot_end_its_script() -> None:
    made = chart("x", [Line("</script><b>", [0, 1], [1.0, 2.0])])
    assert "<" not in made.data
    assert json.loads(made.data)["series"][0]["name"] == "</script><b>"


def test_nothing_measured_is_said() -> None:
    assert chart("x", []).empty
    assert chart("x", [Line("x", [1], [None])]).empty
    assert sparkline([None, 1.0]) == ""
    assert bars([]) == []


def test_reliability_is_zoomed_to_what_there_is() -> None:
    low = CalibrationBin(rows=10, predicted=0.1, observed=0.2, low=0.1, high=0.22)
    made = reliability(Calibration(ece=0.1, noise=0.1, bins=(low,)))
    assert made is not None
    assert made.top == 0.25
    assert made.points == [(pytest.approx(40), pytest.approx(20))]
    assert [text for _, text in made.ticks] == ["0", "5", "10", "15", "20", "25"]
    assert reliability(Calibration(ece=0, noise=0, bins=())) is None


NODES = st.integers(1, 12)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Node], list[Edge]]:
    count = draw(NODES)
    nodes = [Node(f"n{i}", "kind", f"title {i}", ("line",) * draw(st.integers(0, 4))) for i in range(count)]
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    return nodes, [Edge(f"n{a}", f"n{b}") for a, b in draw(st.lists(pairs, max_size=25))]


@given(graphs())
def test_no_box_lies_on_another_and_all_are_inside(graph: tuple[list[Node], list[Edge]]) -> None:
    nodes, edges = graph
    drawing = layout(nodes, edges)
    assert sorted(box.node.id for box in drawing.boxes) == sorted(node.id for node in nodes)
    for box in drawing.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= drawing.width
        assert box.y + box.height <= drawing.height + 0.001
        for other in drawing.boxes:
            if other is not box and other.x == box.x:
                assert box.y + box.height <= other.y + 0.001 or other.y + other.height <= box.y + 0.001


@given(graphs())
def test_arrows_go_to_the_right(graph: tuple[list[Node], list[Edge]]) -> None:
    nodes, edges = graph
    edges = [edge for edge in edges if int(edge.source[1:]) < int(edge.target[1:])]
    place = {box.node.id: box.x for box in layout(nodes, edges).boxes}
    assert all(place[edge.source] < place[edge.target] for edge in edges)
    listed = [node.id for node in order(nodes, edges)]
    assert all(listed.index(edge.source) < listed.index(edge.target) for edge in edges)


def commit(name: str, *parents: str) -> CommitInfo:
    return CommitInfo(name, parents, "ann", name, 0, {})


def test_a_straight_history_is_one_lane() -> None:
    drawn = lanes([commit("c", "b"), commit("b", "a"), commit("a")])
    assert [one.x for one in drawn] == [7, 7, 7]
    assert drawn[0].lines == [(0, "M7 50V100")]
    assert drawn[2].lines == [(0, "M7 50V0")]


def test_a_merge_opens_a_lane_that_ends_at_its_root() -> None:
    drawn = lanes([commit("m", "b", "x"), commit("x", "a"), commit("b", "a"), commit("a")])
    assert drawn[0].is_merge
    assert [one.x for one in drawn] == [7, 21, 7, 7]
    assert drawn[-1].width == 28
    # Every lane that leaves a row at its foot is there at the next one's head.
    for above, below in pairwise(drawn):
        foot = {lane for lane, path in above.lines if path.endswith("100")}
        head = {lane for lane, path in below.lines if path.endswith(" 0") or path.endswith("V0") or " 0V" in path}
        assert foot == head


@given(st.lists(st.lists(st.integers(1, 6), max_size=2, unique=True), min_size=1, max_size=25))
def test_lanes_join_from_row_to_row(gaps: list[list[int]]) -> None:
    """Whatever the history, what leaves one row arrives at the next."""
    count = len(gaps)
    commits = [commit(str(i), *[str(i + gap) for gap in own if i + gap < count]) for i, own in enumerate(gaps)]
    drawn = lanes(commits)
    for above, below in pairwise(drawn):
        foot = {lane for lane, path in above.lines if path.endswith("100")}
        head = {lane for lane, path in below.lines if path.endswith(" 0") or path.endswith("V0") or " 0V" in path}
        assert foot == head
