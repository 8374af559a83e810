"""The import wizard: rehearsals, the log that undoes an import, remembered mappings."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("leads", "0001_initial"),
    ]

    operations = [
        migrations.RenameField(
            model_name="leadimport",
            old_name="error",
            new_name="error_code",
        ),
        migrations.AddField(
            model_name="leadimport",
            name="committed_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="leadimport",
            name="duplicates",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="leadimport",
            name="error_params",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="leadimport",
            name="headers",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="leadimport",
            name="policy",
            field=models.CharField(
                choices=[
                    ("overwrite", "Overwrite what is there"),
                    ("fill", "Only fill in what is empty"),
                    ("keep", "Leave known leads as they are"),
                ],
                default="overwrite",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="leadimport",
            name="rehearsal",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="leadimport",
            name="suppressed",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="leadimport",
            name="undo",
            field=models.JSONField(default=dict),
        ),
        migrations.AlterField(
            model_name="leadimport",
            name="state",
            field=models.CharField(
                choices=[
                    ("draft", "Draft"),
                    ("rehearsing", "Being checked"),
                    ("ready", "Ready to import"),
                    ("waiting", "Waiting"),
                    ("running", "Running"),
                    ("done", "Done"),
                    ("failed", "Failed"),
                    ("undoing", "Being undone"),
                    ("undone", "Undone"),
                ],
                default="waiting",
                max_length=10,
            ),
        ),
        migrations.CreateModel(
            name="ImportedLead",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("handle", models.CharField(max_length=30)),
                ("ghl_id", models.CharField(blank=True, default="", max_length=80)),
                (
                    "fate",
                    models.CharField(
                        choices=[("created", "new"), ("updated", "changed"), ("same", "the same")],
                        max_length=10,
                    ),
                ),
                ("before", models.JSONField(default=dict)),
                ("after", models.JSONField(default=dict)),
                ("suppressed", models.BooleanField(default=False)),
                ("repeated", models.BooleanField(default=False)),
                ("tagged", models.BooleanField(default=False)),
                ("kept", models.CharField(blank=True, default="", max_length=20)),
                ("at", models.DateTimeField()),
                (
                    "lead",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="imported",
                        to="leads.lead",
                    ),
                ),
                (
                    "lead_import",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="leads",
                        to="leads.leadimport",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="imported_leads",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(
                        fields=["tenant", "lead_import", "fate"], name="imported_lead_fate"
                    ),
                    models.Index(
                        condition=models.Q(("ghl_id", ""), _negated=True),
                        fields=["tenant", "lead_import", "ghl_id"],
                        name="imported_lead_ghl_id",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "id"), name="leads_importedlead_tenant_id"
                    ),
                    models.UniqueConstraint(
                        fields=("tenant", "lead_import", "handle"), name="imported_lead_once"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ImportMapping",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("columns", models.CharField(max_length=64)),
                ("mapping", models.JSONField(default=dict)),
                (
                    "policy",
                    models.CharField(
                        choices=[
                            ("overwrite", "Overwrite what is there"),
                            ("fill", "Only fill in what is empty"),
                            ("keep", "Leave known leads as they are"),
                        ],
                        default="overwrite",
                        max_length=10,
                    ),
                ),
                ("saved_at", models.DateTimeField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="import_mappings",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "id"), name="leads_importmapping_tenant_id"
                    ),
                    models.UniqueConstraint(
                        fields=("tenant", "columns"), name="import_mapping_once"
                    ),
                ],
            },
        ),
    ]
