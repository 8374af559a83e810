from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tenants", "0004_single_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="replaced_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RemoveConstraint(model_name="apikey", name="api_key_name"),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.UniqueConstraint(
                condition=models.Q(("replaced_at", None), ("revoked_at", None)),
                fields=("tenant", "name"),
                name="api_key_name_in_use",
            ),
        ),
    ]
