"""What a row does to known leads can be said of single columns."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('leads', '0004_icp_draft'),
    ]

    operations = [
        migrations.AddField(
            model_name='importmapping',
            name='policies',
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.AddField(
            model_name='leadimport',
            name='policies',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict),
        ),
    ]
