"""On PostgreSQL, a tenant's row refers to another through its composite key alone.

The plain key beside it checked the same once more. Tables made later never get one.
"""

from django.db import migrations


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for model in schema_editor.models_of_tenants(apps):
            schema_editor.tie(model)
            schema_editor.drop_plain_keys(model)


def restore(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for model in schema_editor.models_of_tenants(apps):
            schema_editor.restore_plain_keys(model)


class Migration(migrations.Migration):
    # Each key by itself, so that no two tables are held at once; may be run again after a failure.
    atomic = False

    dependencies = [
        ("tenants", "0014_custom_roles"),
        ("integrations", "0002_dead_letters"),
        ("leads", "0008_lead_held"),
        ("campaigns", "0010_error_limits"),
    ]

    operations = [migrations.RunPython(drop, restore)]
