"""How log-in differs from allauth's defaults."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from agenticos.client_address import client_address, client_network
from tenants import attempts, events
from tenants.freshness import is_fresh

NOWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there: a session's address that nobody knows


class AccountAdapter(DefaultAccountAdapter):
    """Nobody signs up by themselves; guesses are counted exactly; a fresh log-in is a proof."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or NOWHERE

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        return not is_fresh(self.request)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count the guess, of the account and of the address, before the password is looked at.

        Raises ValidationError when there are none left. allauth counts as well, in the cache.
        """
        for limit, key in self._counted(request, credentials):
            if not attempts.take(limit, key):
                events.note("auth.limited", request, limit=limit.name)
                raise self.validation_error("too_many_login_attempts")
        super().pre_authenticate(request, **credentials)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        user = super().authenticate(request, **credentials)
        if user is not None:
            for limit, key in self._counted(request, credentials):
                attempts.give_back(limit, key)
        return user

    def _counted(
        self, request: HttpRequest, credentials: dict[str, Any]
    ) -> list[tuple[attempts.Limit, str]]:
        account = str(credentials.get("email", "")).strip().casefold()
        return [
            (attempts.PASSWORDS_OF_ONE, account),
            (attempts.PASSWORDS_FROM_ONE, client_network(request)),
        ]
