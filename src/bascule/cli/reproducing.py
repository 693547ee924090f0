"""How a reproduction is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.project.reproducing import Compared, Reproduction

EXIT, END = "exit code", "end"  # of `Compared`
MOST = 20


def verdict(done: Reproduction) -> str:
    """Return what came out, in a sentence; then what differs, and what may explain it."""
    what = f"{done.model} version {done.version}" if done.model else f"run {done.of}"
    things = _counted([one for one in done.compared if one.verdict != "different"])
    if done.verdict == "identical" and not done.compared:
        lines = [f"Identical: {what} ended as it did then, run {done.run_id}."]
    elif done.verdict == "identical":
        how = f" ({done.found[:16]})" if done.found else f": {things}"
        lines = [f"Identical: {what} came out byte for byte{how}, run {done.run_id}."]
    elif done.verdict == "equal" and not done.relative:
        lines = [f"Equal: {what} came out with the same content, only packed differently, run {done.run_id}."]
    elif done.verdict == "equal":
        size = f"{done.relative:.2g}"
        lines = [f"Equal within {size}: {what} came out the same up to that relative difference, run {done.run_id}."]
    else:
        lines = [f"Different: {what} did not come out the same, run {done.run_id}."]
    lines += [f"  {_told(one)}" for one in done.compared if one.verdict != "identical"][:MOST]
    if done.differing:
        lines.append("What differs:")
        lines += [
            f"  {term}: {_short(before)} then, {_short(after)} now" for term, before, after in done.differing[:MOST]
        ]
        more = len(done.differing) - MOST
        lines += [f"  and {more} more (--json has all)"] if more > 0 else []
    elif done.verdict == "different":
        lines.append(_unexplained(done))
    return "\n".join([*lines, *done.notes])


def _told(one: Compared) -> str:
    if not one.absolute:
        return f"{one.path}: {one.note or ('the same content' if one.verdict == 'equal' else 'different')}"
    size = f"greatest difference {one.absolute:.3g}, relative {one.relative:.3g}"
    count = f" among {one.values:,} numbers" if one.values > 1 else ""
    note = f" ({one.note})" if one.note else ""
    return f"{one.path}: {one.verdict}, {size}{count}{note}"


_BESIDE = (
    "Environment variables, the clock and the network are no terms: if it reads one of them, pass that as an argument."
)


def _unexplained(done: Reproduction) -> str:
    if any(one.path in (EXIT, END) for one in done.compared):
        return (
            "Every recorded term is the same, but it ended in another way. If a file was missing: what is read below "
            "Python (a shell, a C library) is not noted and was not brought; --keep FOLDER shows what was."
        )
    text = "Every recorded term is the same (code, data, environment, parameters): the command is not deterministic."
    if done.seeds:
        return (
            f"{text} These seeds were set: {', '.join(done.seeds[:5])}; something else is drawn without one. {_BESIDE}"
        )
    return f"{text} No seed was recorded: set one (random_state, random.seed, numpy, torch.manual_seed). {_BESIDE}"


def _counted(found: list[Compared]) -> str:
    metrics = sum(one.path.startswith("metric ") for one in found)
    counts = ((len(found) - metrics, "output"), (metrics, "metric"))
    return " and ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count)


def _short(text: str) -> str:
    return text[:16] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text[:120]
