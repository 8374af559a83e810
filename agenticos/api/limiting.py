"""How often programs may call: per key, above it per tenant, and per address without a good key."""

from __future__ import annotations

import logging

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _

from agenticos import limits
from agenticos.api.problems import Problem
from agenticos.client_address import client_network
from agenticos.limits import Decision, Limit
from tenants.authentication import Caller

logger = logging.getLogger(__name__)


def count_caller(caller: Caller) -> Decision:
    """Count a call of a program that was let in: as its key's, and as its tenant's.

    Tokens count as the key that they were got with. Raises Problem 503.
    """
    tenant = f"t:{caller.key.tenant_id}"
    decision = _take(
        Limit(f"{tenant}:key:{caller.key.pk}", *settings.API_LIMITS["key"]),
        Limit(tenant, *settings.API_LIMITS["tenant"]),
    )
    if not decision.allowed:
        kind = "tenant" if decision.limit.key == tenant else "key"
        logger.warning(
            "rate.limited kind=%s tenant=%s key=%s", kind, caller.key.tenant_id, caller.key.pk
        )
    return decision


def count_stranger(request: HttpRequest) -> Decision:
    """Count a call that came without a good key, by its address. Raises Problem 503.

    Calls with a good key are not counted here, so that a neighbour behind the same address who
    has none shuts nobody out.
    """
    decision = _take(Limit(f"stranger:{client_network(request)}", *settings.API_LIMITS["stranger"]))
    if not decision.allowed:
        logger.warning("rate.limited kind=stranger")
    return decision


def too_many(decision: Decision) -> Problem:
    """The answer to a call that was refused."""
    return Problem(
        429,
        "rate_limited",
        _("Too many calls. Come back in %(seconds)d s.") % {"seconds": decision.retry_s},
        headers={"Retry-After": str(decision.retry_s)},
    )


def headers(decision: Decision) -> dict[str, str]:
    """What every answer says about the limit that is the nearest to its end."""
    return {
        "RateLimit-Limit": str(decision.limit.burst),
        "RateLimit-Remaining": str(decision.remaining),
        "RateLimit-Reset": str(decision.reset_s),
    }


def _take(*many: Limit) -> Decision:
    try:
        return limits.take_all(many)
    except limits.Unavailable as error:
        raise Problem(
            503,
            "busy",
            _("The database is busy. Try again in a moment."),
            headers={"Retry-After": "1"},
        ) from error
