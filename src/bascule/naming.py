"""Names: which may be given, and the one that means what serves. The one place that says it."""

from __future__ import annotations

import re

from bascule.errors import InputError

#: As a JSON Schema writes it, too.
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_.-]*$"
LONGEST = 128
#: Of a registered model's name, which a client of another registry may have given.
LONGEST_MODEL = 256
MODELS = "models/"
#: The alias of the version that serves.
PRODUCTION = "production"


def checked_name(name: str, what: str) -> str:
    """Return a name that may be used.

    Args:
        what: what it is to name, such as "a model name".

    Raises:
        InputError: it holds something other than letters, digits, dot, dash and underscore, or is too long.
    """
    if len(name) > LONGEST or name.endswith("\n") or not re.search(NAME_PATTERN, name):
        shown = name if len(name) <= LONGEST else name[:LONGEST] + "…"
        raise InputError(
            f"{shown!r} cannot be used as {what}.",
            hint=f"Use letters, digits, dot, dash and underscore, a letter first, at most {LONGEST} characters.",
        )
    return name


def model_path(model: str) -> str:
    """Return the history path of a model whose name other registries allow too: other signs become `~` and their code.

    Raises:
        InputError: it is blank, too long, or has a slash, a colon or a sign that is no character.
    """
    if not model.strip() or "/" in model or ":" in model or model in (".", "..") or not model.isprintable():
        raise InputError(
            f"Invalid name: '{model[:80]}'. Registered model name cannot be empty or contain path separators.",
            hint="Use a name without / and :",
        )
    if len(model) > LONGEST_MODEL:
        told = f"The name has {len(model)} characters; at most {LONGEST_MODEL} are allowed."
        raise InputError(told, hint="Shorten it.")
    plain = re.sub(r"[^A-Za-z0-9_.-]", lambda found: "".join(f"~{one:02x}" for one in found[0].encode()), model)
    return MODELS + (plain if plain[0].isalpha() or plain[0] == "~" else f"~{ord(plain[0]):02x}{plain[1:]}")


def name_in(path: str) -> str:
    """Return the name that a path of the history holds, in its own signs."""
    return re.sub(
        r"(?:~[0-9a-f]{2})+",
        lambda found: bytes.fromhex(found[0].replace("~", "")).decode("utf-8", "replace"),
        path.partition("/")[2],
    )


def plain_name(name: str, prefix: str) -> str:
    """Return a name as one that may be part of an address: other signs become dashes.

    Args:
        prefix: what it begins with when it begins with no letter.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")
    return (plain if plain[:1].isalpha() else f"{prefix}-{plain}".rstrip("-"))[:LONGEST]
