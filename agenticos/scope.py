"""Whose data the running code may touch: nobody's, one tenant's, or everybody's.

A context variable with three values. Requests and tasks start with none; `as_tenant` and
`as_system` are the only ways in. The managers of `tenants.models.TenantOwned` read it whenever a
query is compiled, so a query outside a scope raises instead of answering. This module is a leaf:
it knows tenants by id alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

logger = logging.getLogger(__name__)


class NoTenant(RuntimeError):
    """Tenant data was asked for, or written, outside any scope."""


class WrongTenant(RuntimeError):
    """A row of one tenant was to be written inside another's scope."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One tenant, or with `tenant_id` None the whole system for `reason`."""

    tenant_id: int | None
    reason: str = ""

    @property
    def is_system(self) -> bool:
        return self.tenant_id is None


class HasId(Protocol):
    """A tenant, as far as this module needs one."""

    pk: Any


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)


def current() -> Scope | None:
    """The scope in force, or None."""
    return _current.get()


def required() -> Scope:
    """The scope in force. Raises NoTenant when there is none."""
    scope = _current.get()
    if scope is None:
        raise NoTenant("Tenant data was asked for outside as_tenant() and as_system().")
    return scope


def tenant_id() -> int:
    """The id of the tenant in force. Raises NoTenant in the system scope and outside any."""
    scope = required()
    if scope.tenant_id is None:
        raise NoTenant("One tenant is needed here, and the system scope is in force.")
    return scope.tenant_id


@contextmanager
def as_tenant(tenant: HasId | int) -> Iterator[None]:
    """Run as one tenant, given as its row or its id."""
    token = _current.set(Scope(tenant if isinstance(tenant, int) else int(tenant.pk)))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def as_system(reason: str) -> Iterator[None]:
    """Run across all tenants. `reason` goes to the log: it is read when doors are reviewed."""
    logger.debug("scope.system: %s", reason)
    token = _current.set(Scope(None, reason))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run without a scope: how every request and every task starts."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
