"""What names and values may look like, and how long they may be."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from bascule.errors import InputError
from bascule.protocols.mlflow.messages import DOCS, Fields

KEY = re.compile(r"[/\w.\- :]*")
MOST_KEY = 250
PARAM, RUN_TAG, EXPERIMENT_TAG, REGISTRY_TAG = 6_000, 8_000, 20_000, 100_000
BATCH_METRICS, BATCH_PARAMS, BATCH_TAGS, BATCH = 1_000, 100, 100, 1_000
NAME, DIGEST, ID = 500, 36, 64  # an id of a logged model
MODEL = 1 << 20  # what an MLmodel file says, as JSON
LATEST_TIME = 9_000_000_000_000_000  # milliseconds; as microseconds it still is a 64-bit integer


def checked_key(key: str, where: str) -> str:
    """Return the key of a metric, a parameter or a tag.

    Raises:
        InputError: it is too long, has other signs, or is no path in its plainest form.
    """
    if len(key) > MOST_KEY:
        raise InputError(
            f"'{where}' exceeds the maximum length of {MOST_KEY} characters: it has {len(key)}.", hint="Shorten it."
        )
    if not KEY.fullmatch(key):
        raise InputError(
            f"Invalid value \"{key[:100]}\" for parameter '{where}' supplied: Names may only contain alphanumerics, "
            "underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).",
            hint=DOCS,
        )
    if key != posixpath.normpath(key) or key.startswith("/") or key in (".", "..") or key.startswith("../"):
        raise InputError(
            f"Invalid value \"{key[:100]}\" for parameter '{where}' supplied: Names may be treated as files in certain "
            "cases, and must not resolve to other names when treated as such.",
            hint=f"Resolved name: '{posixpath.normpath(key)[:100]}'.",
        )
    return key


def checked_value(value: str, most: int, where: str) -> str:
    """Return a value that is short enough.

    Raises:
        InputError: it is longer.
    """
    if len(value) > most:
        raise InputError(
            f"'{where}' exceeds the maximum length of {most} characters: it has {len(value)}.", hint="Shorten it."
        )
    return value


def tags_of(fields: Iterable[Fields], most: int, *, cut: bool = False, where: str = "tags") -> dict[str, str]:
    """Return tags; the last of one key wins.

    Args:
        most: characters of a value.
        cut: cut longer values instead of refusing them.
    """
    found = {}
    for place, one in enumerate(fields):
        key = checked_key(one.text("key", required=True), f"{where}[{place}].key")
        value = one.given("value") or ""
        found[key] = value[:most] if cut else checked_value(value, most, f"{where}[{place}].value")
    return found


def checked_name(name: str, what: str) -> str:
    """Return the name of an experiment or a model.

    Raises:
        InputError: it is blank or too long.
    """
    if not name.strip():
        raise InputError(f"Invalid {what} name: '{name}'. It must not be blank.", hint="Give it a name.")
    return checked_value(name, NAME, "name")


def counted(counts: Mapping[str, int]) -> None:
    """Refuse a batch that is too large.

    Args:
        counts: how many `metrics`, `params` and `tags`.

    Raises:
        InputError: with the limit.
    """
    for name, most in (("metrics", BATCH_METRICS), ("params", BATCH_PARAMS), ("tags", BATCH_TAGS)):
        if counts[name] > most:
            raise InputError(
                f"A batch logging request can contain at most {most} {name}. Got {counts[name]} {name}. "
                f"Please split up {name} across multiple requests and try again.",
                hint=DOCS,
            )
    if sum(counts.values()) > BATCH:
        raise InputError(
            f"A batch logging request can contain at most {BATCH} entities, got {sum(counts.values())}.",
            hint="Split it across several requests.",
        )
