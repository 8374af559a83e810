"""The tables that tenants had before row-level security get their policies, on PostgreSQL.

Tables made later get theirs when they are made (`agenticos/postgres/schema.py`).
"""

from django.db import migrations


def _tables(apps):
    from agenticos.postgres.schema import is_tenants

    return sorted(model._meta.db_table for model in apps.get_models() if is_tenants(model))


def guard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in _tables(apps):
            schema_editor.guard(table)


def unguard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in _tables(apps):
            schema_editor.unguard(table)


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0004_single_keys"),
        ("integrations", "0002_dead_letters"),
        ("leads", "0004_icp_draft"),
        ("campaigns", "0005_no_lead_before_its_messages"),
    ]

    operations = [migrations.RunPython(guard, unguard)]
