"""What a test that committed leaves behind is taken away here."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import connection, transaction

from agenticos import scope

# The same before and after every test; `migrate` writes them.
KEPT: Final = frozenset({"django_content_type", "auth_permission"})
# pg_relation_size is 0 for what nothing was ever written to.
_WRITTEN: Final = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
AND pg_relation_size(oid) > 0
"""


def empty() -> None:
    """Delete every row of every table of ours, in one transaction; references are checked then."""
    tables = {*connection.introspection.django_table_names(only_existing=True)} - KEPT
    # It has no model. What one test's wrong passwords count there would limit another's.
    tables.add(settings.CACHES["database"]["LOCATION"])
    with scope.as_system("a test is over"), transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_WRITTEN)
            tables &= {name for (name,) in cursor.fetchall()}
        for table in sorted(tables):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
