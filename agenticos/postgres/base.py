"""Django's PostgreSQL backend, each of whose statements runs in the scope in force.

Role and tenant are set for the transaction alone, so a pooler in transaction mode may hand the
session on. Three states: nobody (policies raise), one tenant (`app.tenant_id`, the login's own
role), the system (the role `app_system`, which policies do not bind).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db.backends.postgresql import base
from psycopg import errors, generators, pq

from agenticos import outage, scope, timeouts
from agenticos.postgres.schema import DatabaseSchemaEditor

SYSTEM_ROLE: Final = "app_system"

NOBODY: Final = 0  # tenants' ids begin at 1
SYSTEM: Final = -1
UNKNOWN: Final = -2


def wanted() -> int:
    """The scope in force as one number: a tenant's id, NOBODY or SYSTEM."""
    now = scope.current()
    if now is None:
        return NOBODY
    return SYSTEM if now.tenant_id is None else now.tenant_id


def _run(link: Any, sql: str) -> None:
    """Run statements and look at nothing but whether they went well.

    It waits through the connection, as cursors do: libpq's own `exec` would wait for a server
    that hangs for ever, and a web process's waits have an end (agenticos/outage.py).
    """
    link.pgconn.send_query(sql.encode())
    for result in link.wait(generators.execute(link.pgconn)):
        if result.status not in _WENT_WELL:
            raise errors.error_from_result(result)


_WENT_WELL: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class DatabaseWrapper(base.DatabaseWrapper):
    """Applies the scope before a statement when the transaction carries another one."""

    SchemaEditorClass = DatabaseSchemaEditor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What the transaction under way was told; a new one has been told nothing. Kept per
        # connection and not per Atomic: Python reuses those objects' ids.
        self._applied = NOBODY
        self._limited = False
        self._bare = False
        self.execute_wrappers.append(self._in_scope)

    def _in_scope(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        if self._bare:
            return execute(sql, params, many, context)
        want = wanted()
        if not self.autocommit or self.in_atomic_block:
            self.apply_scope()
            return execute(sql, params, many, context)
        if want == NOBODY:
            return execute(sql, params, many, context)
        # Autocommit: the setting needs a transaction to live in.
        self._tell(want)
        try:
            result = execute(sql, params, many, context)
        except BaseException:
            self._end("ROLLBACK", quietly=True)
            raise
        self._end("COMMIT")
        return result

    def apply_scope(self) -> None:
        """Give the transaction under way the scope and the limits in force, if it lacks them."""
        want = wanted()
        if want == self._applied and (self._limited or not timeouts.current()):
            return
        self.ensure_connection()
        self._applied = UNKNOWN
        self._tell(want)
        self._applied = want

    def _tell(self, want: int) -> None:
        role = SYSTEM_ROLE if want == SYSTEM else "none"
        tenant = str(want) if want > NOBODY else ""
        words = {"role": role, "app.tenant_id": tenant}
        if not self._limited:
            # Once a transaction, so that a wait that was shortened within it stays short.
            words.update(timeouts.current())
            self._limited = True
        # All of them names of ours and numbers: nothing to bind.
        sql = "SELECT " + ", ".join(
            f"set_config('{name}', '{value}', true)" for name, value in words.items()
        )
        self._send(sql)

    def _send(self, sql: str) -> None:
        """Run a statement of our own, past the log of queries and without a trip for BEGIN."""
        link: Any = self.connection
        with self.wrap_database_errors:
            if link.pgconn.pipeline_status != pq.PipelineStatus.OFF or link.isolation_level:
                link.cursor().execute(sql)
                return
            idle = link.pgconn.transaction_status == pq.TransactionStatus.IDLE
            _run(link, f"BEGIN; {sql}" if idle else sql)

    def _end(self, verb: str, *, quietly: bool = False) -> None:
        """End the transaction around one statement."""
        self._limited = False
        link: Any = self.connection
        if link is None or link.pgconn.transaction_status == pq.TransactionStatus.UNKNOWN:
            return  # the connection is lost, and the transaction with it
        try:
            with self.wrap_database_errors:
                _run(link, verb)
        except DatabaseError:
            if not quietly:
                raise

    def commit_on_the_way(self) -> None:
        """Send COMMIT within a pipeline that holds all of the transaction.

        Django's own, when the block of `atomic` ends, then finds nothing to do and makes no trip.
        """
        link: Any = self.connection
        link.cursor().execute("COMMIT", prepare=False)

    def _forget(self) -> None:
        self._applied = NOBODY
        self._limited = False

    def _commit(self) -> None:
        self._forget()
        super()._commit()  # type: ignore[misc]  # the stubs do not know it

    def _rollback(self) -> None:
        self._forget()
        super()._rollback()  # type: ignore[misc]  # the stubs do not know it

    def _close(self) -> None:
        self._forget()
        super()._close()  # type: ignore[misc]  # the stubs do not know it

    def _savepoint_rollback(self, sid: str) -> None:
        # The transaction may be broken, and takes nothing but this: not even a scope.
        self._bare = True
        try:
            super()._savepoint_rollback(sid)  # type: ignore[misc]  # the stubs do not know it
        finally:
            self._bare = False
            # Back to what held at the savepoint, whatever that was.
            self._applied = UNKNOWN
            self._limited = False

    def get_new_connection(self, conn_params: Any) -> Any:
        outage.refuse_to_connect()  # it would take seconds, and a thread, to find out again
        return super().get_new_connection(conn_params)

    def init_connection_state(self) -> None:
        self._forget()
        super().init_connection_state()
        if not settings.IS_LOCAL:
            self._refuse_the_mighty()

    def _refuse_the_mighty(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT rolname FROM pg_roles WHERE rolname = session_user "
                "AND (rolsuper OR rolbypassrls)"
            )
            found = cursor.fetchone()
        if found:
            self.close()
            raise ImproperlyConfigured(
                f"DATABASE_URL logs in as {found[0]}, whom row-level security does not bind; "
                "use app_web (agenticos/postgres/roles.sql)."
            )
