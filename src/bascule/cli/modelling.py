"""Commands about models and their versions: model list, show, compare, card, approve, trust, sign and more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns, moment
from bascule.counting import counted

if TYPE_CHECKING:
    from bascule.verbs import OpenProject

model = App(name="model", help="Versions of models: show, compare, decide about, vouch for.")
Why = Annotated[str, Parameter(name=["--reason", "-m"], help="Why; kept with it and in the audit log.")]
MOST_METRICS = 12


@model.command(name="list")
def list_all(
    name: str | None = None,
    /,
    *,
    deleted: Annotated[bool, Parameter(help="List what was deleted and can be restored instead.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """List the models of the branch, or the versions of one.

    Args:
        name: a model.
    """
    from bascule.cli.asking import models

    if not deleted:
        models(name, common=common)
        return
    found = common.open().deleted_models(name)
    rows = [(one["name"], moment(one["at"]), one["actor"], one["reason"], one["branch"]) for one in found]
    head = ("version", "deleted", "by", "why", "from")
    answer(common, found, columns(rows, head, none="Nothing was deleted that can be restored."))


@model.command
def show(name: str, version: str | None = None, /, *, common: Common = COMMON) -> None:
    """Show all that is known of a version.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    told = common.open().show_model(name, version)
    safe, signed, stands = told["safety"], told["signed"], told["standing"]
    facts = [
        ("version", f"{told['model']}@{told['version']}"),
        ("aliases", ", ".join(told["aliases"])),
        ("stage", told["stage"]),
        ("description", told["description"]),
        ("format", " ".join([told["format"], *told["flavors"]])),
        ("digest", told["digest"]),
        ("size", f"{counted(told['bytes'], 'byte')} in {counted(len(told['files']), 'file')}"),
        ("licence", told["licence"]),
        ("gates", "passed" if told["passed"] else f"forced: {told['forced']}" if told["forced"] else ""),
        ("approved by", ", ".join(stands["approved"])),
        ("rejected by", ", ".join(f"{who}: {why}" for who, why in stands["rejected"].items())),
        ("safety", safe["level"] + (f", trusted by {safe['trusted']['actor']}" if safe["trusted"] else "")),
        ("answered by", told["answered_by"]),
        ("signed", f"by {signed['actor']} with {signed['key_id']}" if signed else "no"),
        ("registered", f"{moment(told['created_at'])} by {told['created_by']}"),
        *((key.replace("_", " "), value) for key, value in told["lineage"].items() if value),
    ]
    parts = [columns([(key, value) for key, value in facts if value])]
    for side, held in told["schema"].items():
        rows = [("", one["name"], one["type"], "nullable" if one["nullable"] else "") for one in held]
        parts += [f"{side}\n{columns(rows)}"] if rows else []
    metrics = [("", key, value) for key, value in sorted(told["metrics"].items())[:MOST_METRICS]]
    parts += [f"metrics\n{columns(metrics)}"] if metrics else []
    parts += ["\n".join(told["notes"])] if told["notes"] else []
    answer(common, told, "\n\n".join(parts))


@model.command
def compare(name: str, before: str, after: str | None = None, /, *, common: Common = COMMON) -> None:
    """Compare two versions: metrics, schema, parameters, packages, size, safety, what they learned from.

    Args:
        name: a model.
        before: a version or alias, or MODEL@VERSION.
        after: likewise; the latest when not given.
    """
    done = common.open().compare_models(name, before, after)
    found = done.versions
    metrics = [(key, one.before, one.after, one.difference) for key, one in found.metrics.items()]
    parts = [columns(metrics, ("metric", found.before, found.after, "difference"), none="Neither has metrics.")]
    for title, pairs in (("parameter", done.parameters), ("package", done.packages), ("also", done.about)):
        rows = [(key, _plain(first), _plain(second)) for key, (first, second) in pairs.items()]
        parts += [columns(rows, (title, found.before, found.after))] if rows else []
    lines = [f"input {one} was added" for one in found.inputs_added]
    lines += [f"input {one} was removed" for one in found.inputs_removed]
    lines += [f"input {one} was {old} and is {new}" for one, (old, new) in found.inputs_changed.items()]
    same = [
        ("files", found.same_artifact),
        ("training set", found.same_training_set),
        ("features", found.same_features),
    ]
    lines += [f"{what}: {'the same' if alike else 'other'}" for what, alike in same]
    lines.append(f"size: {counted(done.size[0], 'byte')}, then {done.size[1]:,}")
    answer(common, done.as_dict(), "\n\n".join([*parts, "\n".join(lines)]))


@model.command
def card(
    name: str,
    version: str | None = None,
    /,
    *,
    format: Annotated[
        Literal["markdown", "html"], Parameter(help="Markdown, or a page that needs no network.")
    ] = "markdown",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write it to this file.")] = None,
    common: Common = COMMON,
) -> None:
    """Write a version's card: purpose, data, metrics, slices, schema, lineage, licence, safety, decisions, limits.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    from bascule.cli.profiling import _write

    text = common.open().model_card(name, version, format=format)
    if output is not None:
        _write(output, text)
    document = {"format": format, "card": text, "output": str(output) if output else None}
    answer(common, document, f"{output} is written." if output else text)


@model.command
def approve(name: str, version: str | None = None, /, *, reason: Why, common: Common = COMMON) -> None:
    """Approve a version. [gates] approvals says how many of these a version needs to be shipped.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    opened = common.open()
    made = opened.approve_model(name, version, reason=reason)
    text = f"{made.actor} approves {made.subject}: {made.reason}"
    if made.actor not in opened.show_model(made.subject.removeprefix("models/"))["standing"]["approved"]:
        text += (
            "\nIt does not count as an approval: nobody approves a version of their own. It takes back their rejection."
        )
    answer(common, msgspec.to_builtins(made), text)


@model.command
def reject(name: str, version: str | None = None, /, *, reason: Why, common: Common = COMMON) -> None:
    """Reject a version: where approvals are asked for it is not shipped until you approve it.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    opened = common.open()
    made = opened.reject_model(name, version, reason=reason)
    text = f"{made.actor} rejects {made.subject}: {made.reason}"
    answer(common, msgspec.to_builtins(made), text + _in_service(opened, made.subject))


@model.command
def alias(
    name: str,
    alias: str,
    version: str | None = None,
    /,
    *,
    remove: Annotated[bool, Parameter(help="Remove the alias instead.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Point an alias to a version, such as champion, or remove it.

    Args:
        name: a model.
        alias: a name of its own, such as champion.
        version: a number or another alias.
    """
    opened = common.open()
    made = opened.alias_model(name, alias, version, remove=remove)
    shown = f"{name} has no alias {alias} any more." if remove else f"{name}@{alias} is version {made['version']}."
    answer(common, made, shown)


@model.command
def delete(name: str, version: str | None = None, /, *, reason: Why, common: Common = COMMON) -> None:
    """Delete a version from the branch, or a whole model; refused while anything uses it, and says what does.

    It can be restored until bascule gc lets it go: when it was deleted for as long as bascule retention keeps a deleted
    branch, and no branch, tag or hold has it. Then its files are gone, whatever older states say.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; all of the model when no version is given.
    """
    from bascule.durations import format_duration

    made = common.open().delete_model(name, version, reason=reason)
    names = ", ".join(f"{made.model}@{number}" for number in made.versions) or f"The model {made.model}"
    verb = "are" if made.versions[1:] else "is"
    text = f"{names} {verb} deleted from {made.branch}: {made.reason}"
    for number, where in made.elsewhere.items():
        text += f"\n{made.model}@{number} stays on {', '.join(where)}; while it does, its files stay."
    if made.versions:
        back = f"{made.model}@{made.versions[0]}" if len(made.versions) == 1 else made.model
        span = format_duration(made.purged_after)
        text += f"\nBring it back with: bascule model restore {back}. After {span} bascule gc frees it."
    answer(common, msgspec.to_builtins(made), text)


@model.command
def restore(name: str, version: int | None = None, /, *, reason: Why = "", common: Common = COMMON) -> None:
    """Bring a deleted version back, or of a model all that were deleted together last; aliases do not come back.

    Args:
        name: MODEL@VERSION, or a model.
        version: a number.
    """
    made = common.open().restore_model(name, version, reason=reason)
    names = ", ".join(f"{made.model}@{number}" for number in made.versions)
    text = f"{names} {'are' if made.versions[1:] else 'is'} on {made.branch} again."
    for number, lost in made.aliases.items():
        for one in lost:
            text += f"\nIt was {one}; point that to it with: bascule model alias {made.model} {one} {number}"
    answer(common, msgspec.to_builtins(made), text)


@model.command
def scan(name: str, version: str | None = None, /, *, common: Common = COMMON) -> int:
    """Look for what would run if a version were loaded, without loading it; ends with 1 when that is dangerous.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    found = common.open().scan_model(name, version)
    rows = [
        (
            one.path,
            len(one.globals),
            ", ".join(one.dangerous),
            ", ".join(one.unknown),
            "" if one.complete else "not to its end",
        )
        for one in found.pickles
    ]
    text = columns(rows, ("pickle", "names", "dangerous", "unknown modules", "read"), none="No pickles.")
    text += "".join(f"\nis run: {one}" for one in found.code)
    trusted = f" {found.trusted.actor} trusts it: {found.trusted.reason}" if found.trusted else ""
    answer(common, msgspec.to_builtins(found), f"{text}\n{found.level}.{trusted}")
    return 1 if found.level == "dangerous" else 0


@model.command
def trust(name: str, version: str | None = None, /, *, reason: Why, common: Common = COMMON) -> None:
    """Consent that workers load a version's pickles. It holds for its present bytes alone.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    made = common.open().trust_model(name, version, reason=reason)
    answer(common, msgspec.to_builtins(made), f"{made.actor} trusts {made.subject} ({made.digest[:16]}): {made.reason}")


@model.command
def distrust(name: str, version: str | None = None, /, *, reason: Why, common: Common = COMMON) -> None:
    """Take consent back.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    opened = common.open()
    gone = opened.distrust_model(name, version, reason=reason)
    text = f"{gone[0].subject} is trusted no more." + _in_service(opened, gone[0].subject)
    answer(common, msgspec.to_builtins(gone), text)


@model.command
def retry(*, common: Common = COMMON) -> None:
    """Let the model files that were refused on this machine be tried again when they are next loaded.

    A file that ends the process which reads it first, or that its library refuses, is refused from then on without
    being read, until the library is another release.
    """
    count = common.open().retry_models()
    answer(
        common,
        {"forgotten": count},
        f"{counted(count, 'refusal')} forgotten; each file is tried at its next load.",
    )


@model.command
def sign(
    name: str,
    version: str | None = None,
    /,
    *,
    reason: Why = "",
    common: Common = COMMON,
) -> None:
    """Sign a version's record and all of its files with the workspace's key, which is made if there is none.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    made = common.open().sign_model(name, version, reason=reason)
    answer(common, msgspec.to_builtins(made), f"Signed {made.subject} ({made.digest[:16]}) with the key {made.key_id}.")


@model.command
def verify(name: str, version: str | None = None, /, *, common: Common = COMMON) -> int:
    """Hold every byte of a version to its record, its signature and the audit log; ends with 1 when one differs.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    opened = common.open()
    done = opened.verify_model(name, version)
    subject = f"{done.model}@{done.version}"
    if done.holds:
        at = moment(done.signed_at or 0)
        what = f"{counted(done.files, 'file')}, {counted(done.bytes, 'byte')}"
        text = f"{subject} holds: {what}, signed by {done.signed_by} at {at} ({done.key_id})."
    else:
        text = "\n".join([f"{subject} does not hold:", *(f"  {one}" for one in done.problems)])
        text += _in_service(opened, subject)
    answer(common, msgspec.to_builtins(done), text)
    return 0 if done.holds else 1


def _in_service(opened: OpenProject, subject: str) -> str:
    """Return lines that say where a version is in service, and what ends that; empty when it is nowhere."""
    from bascule.delivery.traffic import where_in_service

    text = ""
    model_name, _, number = subject.removeprefix("models/").rpartition("@")
    for branch, deployment in where_in_service(opened.workspace, model_name, int(number)):
        where = "" if branch == opened.place.branch else f" --branch {branch}"
        text += f"\nIt stays in service in deployments/{deployment} on {branch}; end that with: "
        text += f"bascule rollback {deployment}{where}"
    return text


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()[:60]
