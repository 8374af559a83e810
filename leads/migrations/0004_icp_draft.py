"""The draft of an ICP, and what a what-if reads: natural points, and facts of leads."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("leads", "0003_views_and_jobs"),
        ("tenants", "0002_idempotency_record"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="leadscore",
            name="packed",
            field=models.BigIntegerField(null=True),
        ),
        migrations.CreateModel(
            name="IcpDraft",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("config", models.JSONField()),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "author",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="icp_draft",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "ICP draft",
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "id"), name="leads_icpdraft_tenant_id"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="LeadFacts",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("bio_words", models.TextField(blank=True)),
                ("name_words", models.TextField(blank=True)),
                ("other_words", models.TextField(blank=True)),
                ("followers", models.BigIntegerField(null=True)),
                ("rate", models.BigIntegerField(null=True)),
                ("known", models.IntegerField()),
                ("gates", models.SmallIntegerField()),
                (
                    "lead",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="facts",
                        to="leads.lead",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lead_facts",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "id"), name="leads_leadfacts_tenant_id"
                    ),
                    models.UniqueConstraint(fields=("tenant", "lead"), name="lead_facts_once"),
                ],
            },
        ),
    ]
