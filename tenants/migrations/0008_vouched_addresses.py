"""People who were made before addresses had to be verified: staff vouched for theirs."""

from django.db import migrations


def vouch(apps, schema_editor):
    user_model = apps.get_model("tenants", "User")
    address_model = apps.get_model("account", "EmailAddress")
    # Who has changed the address since has rows of their own, which stay as they are.
    known = set(address_model.objects.values_list("user_id", flat=True))
    taken = set(address_model.objects.values_list("email", flat=True))
    rows = [
        address_model(user_id=pk, email=email.lower(), verified=True, primary=True)
        for pk, email in user_model.objects.values_list("pk", "email").iterator()
        if pk not in known and email.lower() not in taken
    ]
    address_model.objects.bulk_create(rows, batch_size=1000)


class Migration(migrations.Migration):

    dependencies = [
        ("tenants", "0007_second_factor_and_invitations"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]

    operations = [migrations.RunPython(vouch, migrations.RunPython.noop)]
