"""Test messages, and who gets those of an account."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('campaigns', '0007_settled_by_time'),
        ('tenants', '0004_single_keys'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='sendingaccount',
            name='test_recipient',
            field=models.CharField(blank=True, db_default='', default='', max_length=64, verbose_name='test recipient'),
        ),
        migrations.CreateModel(
            name='TestSend',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('claim_token', models.CharField(blank=True, default='', editable=False, max_length=32)),
                ('lease_until', models.DateTimeField(blank=True, editable=False, null=True)),
                ('lease_owner', models.CharField(blank=True, default='', editable=False, max_length=80)),
                ('key', models.CharField(max_length=32)),
                ('recipient', models.CharField(max_length=64)),
                ('text', models.TextField(blank=True)),
                ('text_hash', models.CharField(max_length=64)),
                ('state', models.CharField(choices=[('claimed', 'On its way'), ('sent', 'Sent'), ('later', 'Not now'), ('failed', 'Failed'), ('unknown', 'Unknown')], default='claimed', max_length=10)),
                ('provider_id', models.CharField(blank=True, max_length=120)),
                ('reason', models.CharField(blank=True, max_length=60)),
                ('sentence', models.CharField(blank=True, max_length=300)),
                ('error', models.CharField(blank=True, max_length=300)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('dispatched_at', models.DateTimeField(blank=True, null=True)),
                ('settled_at', models.DateTimeField(blank=True, null=True)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='test_sends', to='campaigns.sendingaccount')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'test message',
                'verbose_name_plural': 'test messages',
                'abstract': False,
                'base_manager_name': 'objects',
                'indexes': [models.Index(fields=['tenant', 'account', '-id'], name='test_send_list'), models.Index(condition=models.Q(('state', 'claimed')), fields=['lease_until'], name='test_send_open')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'id'), name='campaigns_testsend_tenant_id'), models.UniqueConstraint(fields=('tenant', 'key'), name='test_send_key'), models.UniqueConstraint(condition=models.Q(('state', 'claimed')), fields=('tenant', 'account'), name='test_send_one_open'), models.CheckConstraint(condition=models.Q(('state__in', ['claimed', 'sent', 'later', 'failed', 'unknown'])), name='test_send_state'), models.CheckConstraint(condition=models.Q(models.Q(('lease_until__isnull', False), ('state', 'claimed'), models.Q(('claim_token', ''), ('state', 'claimed'), _negated=True)), models.Q(models.Q(('state', 'claimed'), _negated=True), ('claim_token', ''), ('lease_until__isnull', True), ('text', '')), _connector='OR'), name='test_send_lease')],
            },
        ),
    ]
