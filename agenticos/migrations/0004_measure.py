from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agenticos", "0003_rate_limit")]
    operations = [
        migrations.CreateModel(
            name="Measure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                ("labels", models.CharField(max_length=200)),
                ("value", models.FloatField(default=0)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("name", "labels"), name="measure_series")
                ],
            },
        ),
    ]
