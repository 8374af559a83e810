"""On PostgreSQL, the tables that tenants had so far get their policies and composite keys.

Tables made later get theirs when they are made (`agenticos/postgres/schema.py`).
"""

from django.db import migrations


def guard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for model in schema_editor.models_of_tenants(apps):
            schema_editor.tie(model)
        for model in schema_editor.models_of_tenants(apps):
            schema_editor.guard(model._meta.db_table)


def unguard(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for model in schema_editor.models_of_tenants(apps):
            schema_editor.unguard(model._meta.db_table)
            schema_editor.untie(model)


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0008_vouched_addresses"),
        ("integrations", "0002_dead_letters"),
        ("leads", "0006_lead_owner"),
        ("campaigns", "0008_test_sends"),
    ]

    operations = [migrations.RunPython(guard, unguard)]
