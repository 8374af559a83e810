from django.db import migrations, models


def unlogged(apps, schema_editor):
    """Counts of the last minute need not survive a crash, nor wait for the disk."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE agenticos_ratelimit SET UNLOGGED")


class Migration(migrations.Migration):

    dependencies = [
        ("agenticos", "0002_chore"),
    ]

    operations = [
        migrations.CreateModel(
            name="RateLimit",
            fields=[
                ("key", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("tat", models.BigIntegerField()),
            ],
        ),
        migrations.RunPython(unlogged, migrations.RunPython.noop),
    ]
