"""Saved views, bulk jobs with their rows, and the indexes of the list's orders."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("leads", "0002_import_wizard"),
        ("tenants", "0002_idempotency_record"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="BulkJob",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "claim_token",
                    models.CharField(blank=True, default="", editable=False, max_length=32),
                ),
                ("lease_until", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "lease_owner",
                    models.CharField(blank=True, default="", editable=False, max_length=80),
                ),
                ("due_at", models.DateTimeField(blank=True, null=True)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("tag", "Add a tag"),
                            ("untag", "Remove a tag"),
                            ("suppress", "Do not contact"),
                            ("rescore", "Score again"),
                            ("export", "Export"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("freezing", "Choosing leads"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                        ],
                        default="freezing",
                        max_length=10,
                    ),
                ),
                ("params", models.JSONField(default=dict)),
                ("query", models.TextField(blank=True)),
                ("up_to", models.BigIntegerField(default=0)),
                ("cursor", models.BigIntegerField(default=0)),
                ("total", models.PositiveIntegerField(default=0)),
                ("done", models.PositiveIntegerField(default=0)),
                ("unchanged", models.PositiveIntegerField(default=0)),
                ("refused", models.PositiveIntegerField(default=0)),
                ("folder", models.CharField(blank=True, max_length=40)),
                ("parts", models.JSONField(default=list)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "bulk job",
                "verbose_name_plural": "bulk jobs",
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="BulkRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "Waiting"),
                            ("done", "Done"),
                            ("unchanged", "Nothing to do"),
                            ("refused", "Refused"),
                        ],
                        default="",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=40)),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="SavedView",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=60, verbose_name="name")),
                (
                    "shared",
                    models.BooleanField(
                        default=False, verbose_name="everybody in the workspace sees it"
                    ),
                ),
                ("pinned", models.BooleanField(default=True, verbose_name="show it as a tab")),
                ("query", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "verbose_name": "saved view",
                "verbose_name_plural": "saved views",
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.AddIndex(
            model_name="lead",
            index=models.Index(
                condition=models.Q(("followers__isnull", False)),
                fields=["tenant", "-followers", "id"],
                name="lead_most_followers",
            ),
        ),
        migrations.AddIndex(
            model_name="lead",
            index=models.Index(fields=["tenant", "source"], name="lead_source"),
        ),
        migrations.AddField(
            model_name="bulkjob",
            name="started_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="bulkjob",
            name="tenant",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="bulk_jobs",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="bulkjob",
            name="undo_of",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="undone",
                to="leads.bulkjob",
            ),
        ),
        migrations.AddField(
            model_name="bulkrow",
            name="job",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="rows",
                to="leads.bulkjob",
            ),
        ),
        migrations.AddField(
            model_name="bulkrow",
            name="lead",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="bulk_rows",
                to="leads.lead",
            ),
        ),
        migrations.AddField(
            model_name="bulkrow",
            name="tenant",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="bulk_rows",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="savedview",
            name="owner",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="savedview",
            name="tenant",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="saved_views",
                to="tenants.tenant",
            ),
        ),
        migrations.AddIndex(
            model_name="bulkjob",
            index=models.Index(
                condition=models.Q(("state__in", ["freezing", "running"])),
                fields=["due_at"],
                name="bulk_job_open",
            ),
        ),
        migrations.AddIndex(
            model_name="bulkjob",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False)),
                fields=["expires_at"],
                name="bulk_job_expires",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkjob",
            constraint=models.UniqueConstraint(
                fields=("tenant", "id"), name="leads_bulkjob_tenant_id"
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkjob",
            constraint=models.UniqueConstraint(
                fields=("tenant", "undo_of"), name="bulk_job_undone_once"
            ),
        ),
        migrations.AddIndex(
            model_name="bulkrow",
            index=models.Index(
                fields=["tenant", "job", "outcome", "lead"], name="bulk_row_outcome"
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkrow",
            constraint=models.UniqueConstraint(
                fields=("tenant", "id"), name="leads_bulkrow_tenant_id"
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkrow",
            constraint=models.UniqueConstraint(
                fields=("tenant", "job", "lead"), name="bulk_row_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="savedview",
            constraint=models.UniqueConstraint(
                fields=("tenant", "id"), name="leads_savedview_tenant_id"
            ),
        ),
        migrations.AddConstraint(
            model_name="savedview",
            constraint=models.UniqueConstraint(
                fields=("tenant", "owner", "name"), name="saved_view_name"
            ),
        ),
    ]
