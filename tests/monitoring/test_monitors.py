import pytest

from bascule.errors import InputError
from bascule.monitoring import read_monitor

PLAIN = {"name": "delays", "deployment": "delays"}


def test_a_monitor_survives_as_an_object() -> None:
    monitor = read_monitor({**PLAIN, "drift": {"persistence": [2, 3]}, "quality": {"metric": "brier"}})
    found = monitor.as_object()
    assert found["kind"] == "monitor"
    assert found["persistence"] == [3, 5]
    assert read_monitor(found) == monitor
    assert monitor.persistence_of("drift") == monitor.persistence_of("prediction_drift") == (2, 3)
    assert monitor.persistence_of("quality") == (3, 5)


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"drift": {"minimun_rows": 3}}, "unknown field", "'minimum_rows'"),
        ({"qualty": {}}, "unknown field", "'quality'"),
        ({"quality": {"metric": "acu"}}, "asks for 'acu'", "'auc'"),
        ({"quality": {"task": "regression"}}, "asks for 'auc'", "mae"),
        ({"by": "dya"}, "dya", ""),
        ({"persistence": [4, 3]}, r"\[4, 3\]", "k of n"),
        ({"drift": {"effect": 1.5}}, "between 0 and 1", ""),
        ({"quality": {"minimum_coverage": 80}}, "between 0 and 1", ""),
    ],
)
def test_what_cannot_be_used(settings: dict, message: str, hint: str) -> None:
    with pytest.raises(InputError, match=message) as found:
        read_monitor({**PLAIN, **settings})
    assert hint in found.value.hint
