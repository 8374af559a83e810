"""From a connection's kind to the adapter that speaks its provider's language."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from integrations import http
from integrations.ghl.client import GoHighLevel
from integrations.instagram.client import InstagramGraph
from integrations.models import Connection
from integrations.ports import Channel, Crm


def channel_for(connection: Connection) -> Channel:
    """The adapter that sends through this connection. Raises crypto.CannotOpen."""
    return _instagram(connection.external_id, str(connection.reveal()["token"]))


def crm_for(connection: Connection) -> Crm:
    """The adapter that keeps this connection's contacts. Raises crypto.CannotOpen."""
    return _ghl(
        connection.external_id,
        str(connection.reveal()["token"]),
        field_ids=connection.settings.get("field_ids", {}),
    )


def adapter_for(connection: Connection) -> Channel | Crm:
    """The adapter of any connection, to test its credential."""
    if connection.kind == Connection.Kind.GHL:
        return crm_for(connection)
    return channel_for(connection)


def adapter_of(kind: str, external_id: str, token: str, *, deadline_s: float) -> Channel | Crm:
    """An adapter for a credential that is not stored yet, to test it first."""
    if kind == Connection.Kind.GHL:
        return _ghl(external_id, token, deadline_s=deadline_s)
    return _instagram(external_id, token, deadline_s=deadline_s)


def _instagram(account_id: str, token: str, *, deadline_s: float | None = None) -> InstagramGraph:
    return InstagramGraph(
        http.pool(),
        base_url=settings.INSTAGRAM_GRAPH_BASE_URL,
        account_id=account_id,
        token=token,
        deadline_s=deadline_s or settings.HTTP_TIMEOUT_S,
    )


def _ghl(
    location_id: str,
    token: str,
    *,
    field_ids: Mapping[str, str] | None = None,
    deadline_s: float | None = None,
) -> GoHighLevel:
    return GoHighLevel(
        http.pool(),
        base_url=settings.GHL_BASE_URL,
        location_id=location_id,
        token=token,
        deadline_s=deadline_s or settings.HTTP_TIMEOUT_S,
        field_ids=field_ids or {},
    )
