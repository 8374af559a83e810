"""What the roles may do with the tables of this database, given anew by each `migrate`.

Rights are per database and tables come with every migration, so they are not one migration of
their own: before the first one the rights on what is there and on what will come, after the last
one what the pages may not do.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db import connections

from agenticos import scope
from agenticos.postgres.base import SYSTEM_ROLE

WEB_ROLE = "app_web"
# Nobody changes these tables: pages add to them and read them, and the system may remove what is
# over its time. The past stays as it was written.
APPEND_ONLY = ("tenants_auditentry", "tenants_auditseal")
# But for these columns: that an entry is sealed, and that its person's account is gone.
STILL_OPEN = {"tenants_auditentry": ("user_id", "sealed")}
# What has been migrated is the owner's to say. While `migrate` runs, migrations may work as the
# system, so this is taken away at its end like the rest.
OWNERS_ALONE = ("django_migrations",)

_GRANT = f"""
DO $$
DECLARE mine record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('agenticos.rights'));
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO {WEB_ROLE}, {SYSTEM_ROLE}', current_schema());
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE '
        'ON TABLES TO {WEB_ROLE}, {SYSTEM_ROLE}', current_schema());
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE, SELECT, UPDATE '
        'ON SEQUENCES TO {WEB_ROLE}, {SYSTEM_ROLE}', current_schema());
    FOR mine IN
        SELECT c.oid::regclass AS name, c.relkind FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
            AND pg_has_role(c.relowner, 'USAGE')
    LOOP
        IF mine.relkind = 'S' THEN
            EXECUTE format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE %s TO {WEB_ROLE}, '
                '{SYSTEM_ROLE}', mine.name);
        ELSE
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO {WEB_ROLE}, '
                '{SYSTEM_ROLE}', mine.name);
        END IF;
    END LOOP;
END
$$
"""  # noqa: S608 - names of ours

# A table that grew a hundredfold within a minute is planned for as if it were empty: an index is
# taken that finds all rows of the tenant, for each key that is checked. Only the owner may ANALYZE.
_ANALYSE = f"""
DO $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION app_analyse(names text[]) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = %I, pg_temp AS $body$
        DECLARE one text;
        BEGIN
            FOREACH one IN ARRAY names LOOP
                EXECUTE format(''ANALYZE (SKIP_LOCKED) %%I'', one);
            END LOOP;
        END $body$', current_schema());
    REVOKE ALL ON FUNCTION app_analyse(text[]) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION app_analyse(text[]) TO {WEB_ROLE}, {SYSTEM_ROLE};
END
$$
"""


def give(using: str, **_: Any) -> None:
    """Give `app_web` and `app_system` their rights on tables, those to come included.

    Raises CommandError when the roles are missing.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    with scope.as_nobody(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname IN (%s, %s)", [WEB_ROLE, SYSTEM_ROLE]
        )
        if cursor.fetchone()[0] < 2:
            raise CommandError(
                "The database's roles are missing; run agenticos/postgres/roles.sql once as a "
                "superuser: psql -f agenticos/postgres/roles.sql postgres"
            )
        cursor.execute(_GRANT)
        cursor.execute(_ANALYSE)


def take(using: str, **_: Any) -> None:
    """Take from both roles what they may not do with tables that only grow, and the owner's own.

    `app_web` can become `app_system`, so what neither has to do is taken from both. `app_system`
    keeps DELETE on the audit trail: retention removes there what is over its time.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    with scope.as_nobody(), connection.cursor() as cursor:
        there = connection.introspection.table_names(cursor)
        for table in APPEND_ONLY:
            if table in there:
                name = connection.ops.quote_name(table)
                cursor.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {name} FROM {WEB_ROLE}")
                cursor.execute(f"REVOKE UPDATE, TRUNCATE ON {name} FROM {SYSTEM_ROLE}")
            if table in there and table in STILL_OPEN:
                # An older state of the tables, gone back to, may lack one.
                cursor.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass "
                    "AND attname = ANY(%s) AND NOT attisdropped",
                    [name, list(STILL_OPEN[table])],
                )
                columns = ", ".join(row[0] for row in cursor.fetchall())
                cursor.execute(f"GRANT UPDATE ({columns}) ON {name} TO {WEB_ROLE}, {SYSTEM_ROLE}")
        for table in OWNERS_ALONE:
            if table in there:
                name = connection.ops.quote_name(table)
                cursor.execute(
                    f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {name} "
                    f"FROM {WEB_ROLE}, {SYSTEM_ROLE}"
                )
