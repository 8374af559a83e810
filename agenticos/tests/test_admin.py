"""What staff find in the admin, and what they do not."""

import pytest
from django.contrib import admin
from django.test import Client

from tenants.models import User


def test_only_set_up_is_registered():
    assert sorted(model._meta.label for model in admin.site._registry) == [
        "campaigns.SendingAccount",
        "integrations.Connection",
        "tenants.Tenant",
        "tenants.User",
    ]


@pytest.mark.django_db
def test_nobody_schedules_a_function_or_deletes_in_bulk(db):
    staff = User.objects.create_superuser("staff@example.com", "a-long-enough-secret")
    client = Client()
    client.force_login(staff)
    assert client.get("/admin/django_q/schedule/add/").status_code == 404
    page = client.get("/admin/tenants/user/").content.decode()
    assert "delete_selected" not in page
