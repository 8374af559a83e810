from django.db import migrations


def keep_first_versions(apps, schema_editor):
    """What each text of the library says now becomes its first version."""
    template = apps.get_model("campaigns", "Template")
    version = apps.get_model("campaigns", "TemplateVersion")
    version.objects.bulk_create(
        (
            version(tenant_id=row.tenant_id, template=row, number=1, body=row.body)
            for row in template.objects.filter(versions=None).iterator()
        ),
        batch_size=500,
    )


class Migration(migrations.Migration):

    dependencies = [("campaigns", "0002_templates")]

    operations = [migrations.RunPython(keep_first_versions, migrations.RunPython.noop)]
