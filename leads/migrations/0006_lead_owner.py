"""Who in the team answers for a lead."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('leads', '0005_import_column_policies'),
        ('tenants', '0004_single_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='lead',
            name='owner',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='owned_leads', to='tenants.membership', verbose_name='owner'),
        ),
        migrations.AlterField(
            model_name='bulkjob',
            name='kind',
            field=models.CharField(choices=[('tag', 'Add a tag'), ('untag', 'Remove a tag'), ('assign', 'Set the owner'), ('suppress', 'Do not contact'), ('rescore', 'Score again'), ('export', 'Export')], max_length=10),
        ),
        migrations.AddIndex(
            model_name='lead',
            index=models.Index(condition=models.Q(('owner__isnull', False)), fields=['tenant', 'owner', '-id'], name='lead_of_owner'),
        ),
    ]
