"""Who did it, by id, in entries written before the column was there.

Only in those that no seal covers yet: the id is part of what is sealed, so a later one would look
like a forgery. Sealed entries without an id keep the name.
"""

from django.db import migrations
from django.db.models import F

CHUNK = 5_000


def fill(apps, schema_editor):
    entries = apps.get_model("tenants", "AuditEntry").objects.using(schema_editor.connection.alias)
    without = entries.filter(sealed=False, actor_id=None, user__isnull=False).order_by("pk")
    while ids := list(without.values_list("pk", flat=True)[:CHUNK]):
        entries.filter(pk__in=ids, sealed=False).update(actor_id=F("user_id"))


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0012_hash_keys'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
