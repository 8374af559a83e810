"""From a connection's kind to the adapter that speaks its provider's language."""

from __future__ import annotations

from django.conf import settings

from integrations import http
from integrations.ghl.client import GoHighLevel
from integrations.instagram.client import InstagramGraph
from integrations.models import Connection
from integrations.ports import Channel, Crm


def channel_for(connection: Connection) -> Channel:
    """The adapter that sends through this connection. Raises crypto.CannotOpen."""
    return InstagramGraph(
        http.client(),
        base_url=settings.INSTAGRAM_GRAPH_BASE_URL,
        account_id=connection.external_id,
        token=str(connection.reveal()["token"]),
        deadline_s=settings.HTTP_TIMEOUT_S,
    )


def crm_for(connection: Connection) -> Crm:
    """The adapter that keeps this connection's contacts. Raises crypto.CannotOpen."""
    return GoHighLevel(
        http.client(),
        base_url=settings.GHL_BASE_URL,
        location_id=connection.external_id,
        token=str(connection.reveal()["token"]),
        deadline_s=settings.HTTP_TIMEOUT_S,
        field_ids=connection.settings.get("field_ids", {}),
    )


def adapter_for(connection: Connection) -> Channel | Crm:
    """The adapter of any connection, to test its credential."""
    if connection.kind == Connection.Kind.GHL:
        return crm_for(connection)
    return channel_for(connection)
