"""Who asks, and what they may do: permissions, the roles that hold them, and the person behind a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Permission = Literal["public", "read", "write", "deploy", "admin"]
PERMISSIONS: Final[tuple[str, ...]] = get_args(Permission)

# Each role may do all that the one before it may.
ROLES: Final[dict[str, frozenset[str]]] = {
    "reader": frozenset({"public", "read"}),
    "writer": frozenset({"public", "read", "write"}),
    "deployer": frozenset({"public", "read", "write", "deploy"}),
    "admin": frozenset({"public", "read", "write", "deploy", "admin"}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """The person or program behind a request.

    Attributes:
        name: what the audit log calls them.
        role: one of `ROLES`, or "nobody".
        through: how they were known: "token", "cookie", "loopback" (no token asked for), or "nobody".
        branch: the token's default branch; empty when it has none.
    """

    name: str
    role: str
    through: Literal["token", "cookie", "loopback", "nobody"]
    branch: str = ""

    def may(self, permission: str) -> bool:
        """Return whether their role holds a permission."""
        return permission in ROLES.get(self.role, frozenset({"public"}))


NOBODY: Final = Principal("nobody", "nobody", "nobody")


def roles_with(permission: str) -> list[str]:
    """Return the roles that hold a permission, weakest first."""
    return [role for role, held in ROLES.items() if permission in held]
