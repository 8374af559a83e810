from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('campaigns', '0003_first_template_versions'),
    ]

    operations = [
        migrations.AddField(
            model_name='campaign',
            name='starts_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name='campaign',
            index=models.Index(condition=models.Q(('state', 'scheduled')), fields=['starts_at'], name='campaign_starts'),
        ),
    ]
