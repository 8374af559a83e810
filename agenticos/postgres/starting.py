"""Whether the role of this process may serve: what keeps tenants apart must bind it."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from agenticos import scope


def complaint() -> str:
    """What is wrong with the role that this process logs in as, in a sentence, or nothing."""
    if connection.vendor != "postgresql":
        return ""
    with scope.as_nobody(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.rolname, r.rolsuper OR r.rolbypassrls, EXISTS (SELECT FROM pg_class c "
            "WHERE c.relowner = r.oid AND c.relrowsecurity) "
            "FROM pg_roles r WHERE r.rolname = session_user"
        )
        name, mighty, owns = cursor.fetchone()
    if mighty:
        return f"PostgreSQL is used as {name}, whom row-level security does not bind."
    if owns and not settings.IS_LOCAL:
        return f"PostgreSQL is used as {name}, who owns the tables and may undo their policies."
    return ""


def refuse_unsafe_role() -> None:
    """Raise ImproperlyConfigured in production when the role is not one for pages and workers.

    A database that does not answer is no reason: the process then waits for it as ever.
    """
    if settings.IS_LOCAL:
        return
    try:
        wrong = complaint()
    except OperationalError:
        return
    if wrong:
        raise ImproperlyConfigured(f"{wrong} Log in as app_web (agenticos/postgres/roles.sql).")
