"""Deleting a lead takes no messages along any more. The database itself is as it was."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0004_campaign_starts_at"),
        ("leads", "0004_icp_draft"),
    ]

    operations = [
        migrations.AlterField(
            model_name="message",
            name="lead",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="messages",
                to="leads.lead",
            ),
        ),
    ]
