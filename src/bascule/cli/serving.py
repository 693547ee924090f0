"""Commands that serve: up, serve, token."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common, Port
from bascule.cli.output import answer, columns, say

token = App(name="token", help="Access tokens of servers that others may reach.")
Role = Literal["reader", "writer", "deployer", "admin"]


def up(
    *,
    port: Annotated[
        Port, Parameter(help="The page and the API; inference listens on the next port, gRPC on the one after.")
    ] = 7400,
    host: Annotated[
        str, Parameter(help="The address to listen on; anything but loopback needs a token.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        Parameter(help="A further name that browsers may call the page by, as a proxy passes it on."),
    ] = None,
    common: Common = COMMON,
) -> None:
    """Start everything in the foreground: page, API, inference, scheduler. Ctrl-C ends it cleanly."""
    from functools import partial

    import msgspec

    from bascule.server.settings import ServerSettings
    from bascule.server.supervisor import up as serve_all
    from bascule.server.ticks import ticks
    from bascule.web import at_hand, create_early_app

    place = common.open().place

    settings = ServerSettings(host=host, port=port, allowed_hosts=tuple(allow_host or ()))

    def announce(url: str) -> None:
        found = msgspec.structs.replace(settings, port=int(url.rpartition(":")[2]))
        answer(
            common,
            {"url": url, "inference": found.inference_url, "grpc": found.grpc_address},
            f"Bascule is up: {url}  (Ctrl-C ends it)",
        )

    serve_all(
        place.workspace,
        settings,
        partial(create_early_app, folder=place.folder),
        ticks=[*ticks(place.folder), at_hand()],
        announce=announce,
    )
    say("Stopped.")


def serve(
    *,
    port: Annotated[Port, Parameter(help="The port to listen on.")] = 7401,
    grpc_port: Annotated[Port | None, Parameter(help="The port of gRPC; the one after --port when not given.")] = None,
    host: Annotated[str, Parameter(help="The address to listen on.")] = "127.0.0.1",
    common: Common = COMMON,
) -> None:
    """Answer predictions alone, in the Open Inference Protocol over HTTP and gRPC, for what the branch deploys."""
    import msgspec

    from bascule.protocols.openinference import Ready, run_worker

    place = common.open().place

    def announce(ready: Ready) -> None:
        served = ", ".join(ready.deployments) or "no deployment yet"
        where = f"{ready.url} and grpc://{ready.grpc}"
        text = f"Inference is up: {where}, branch {ready.branch}: {served}  (Ctrl-C ends it)"
        answer(common, msgspec.to_builtins(ready), text)

    folder, branch = place.workspace.folder, place.branch
    run_worker(folder, host=host, port=port, branch=branch, ready=announce, grpc_port=grpc_port)


@token.command
def create(name: str, /, *, role: Role = "reader", works_on: str | None = None, common: Common = COMMON) -> None:
    """Make a token. It is shown once; the workspace keeps its hash.

    Args:
        name: whom or what it is for.
        role: what it may do.
        works_on: the branch on which clients of MLflow work with it, unless their address names one.
    """
    made, secret = common.open().create_token(name, role, works_on=works_on)
    told = {"id": made.id, "name": name, "role": role, "works_on": made.branch or None, "token": secret}
    answer(common, told, secret)


@token.command(name="list")
def list_all(*, common: Common = COMMON) -> None:
    """List tokens: names and roles, never the tokens themselves."""
    found = common.open().tokens()
    lines = [(t.id, t.name, t.role, t.branch, "revoked" if t.revoked_at is not None else "") for t in found]
    rows = [
        {"id": t.id, "name": t.name, "role": t.role, "works_on": t.branch or None, "revoked": t.revoked_at is not None}
        for t in found
    ]
    answer(common, rows, columns(lines, ("token", "name", "role", "works on", ""), none="No tokens yet."))


@token.command
def revoke(name: str, /, *, common: Common = COMMON) -> None:
    """Take a token back; it is refused from then on.

    Args:
        name: the token's name or id.
    """
    gone = common.open().revoke_token(name)
    answer(common, {"id": gone.id, "name": gone.name}, f"Revoked {gone.name}.")
