"""What the frame of every page needs: the tenant, the rights, the other tenants."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from tenants.roles import ACTIONS, can, who_can


class Rights:
    """`rights.campaigns_launch` in a template: whether the member may do campaigns.launch."""

    def __init__(self, membership: Any) -> None:
        self._membership = membership

    def __getitem__(self, name: str) -> bool:
        action = name.replace("_", ".", 1)
        if action not in ACTIONS:
            raise KeyError(name)
        return can(self._membership, action)


class WhoCan:
    """`who_can.campaigns_launch` in a template: the names of the roles that may do it."""

    def __getitem__(self, name: str) -> str:
        return ", ".join(who_can(name.replace("_", ".", 1)))


def shell(request: HttpRequest) -> dict[str, Any]:
    """`tenant`, `membership`, `rights` and `who_can` for the templates of a tenant's pages."""
    membership = getattr(request, "membership", None)
    return {
        "tenant": getattr(request, "tenant", None),
        "membership": membership,
        "rights": Rights(membership),
        "who_can": WhoCan(),
    }
