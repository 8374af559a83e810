"""Addresses of connections and the outbox, under /t/<tenant>/integrations/."""

from __future__ import annotations

from django.urls import path

from integrations.views import connections, dead_letters, outbox

app_name = "integrations"

urlpatterns = [
    path("", connections.connection_list, name="list"),
    path("new/", connections.connection_add, name="add"),
    path("<int:pk>/test/", connections.connection_test, name="test"),
    path("<int:pk>/credential/", connections.connection_credential, name="credential"),
    path("<int:pk>/off/", connections.connection_off, name="off"),
    path("<int:pk>/on/", connections.connection_on, name="on"),
    path("outbox/", outbox.outbox, name="outbox"),
    path("outbox/retry/", outbox.retry_all, name="retry-all"),
    path("outbox/<int:pk>/", outbox.item_detail, name="item"),
    path("outbox/<int:pk>/retry/", outbox.item_retry, name="retry"),
    path("dead-letters/", dead_letters.dead_list, name="dead-letters"),
    path("dead-letters/replay/", dead_letters.dead_replay_group, name="replay-group"),
    path("dead-letters/<int:pk>/replay/", dead_letters.dead_replay, name="replay"),
    path("dead-letters/<int:pk>/discard/", dead_letters.dead_discard, name="discard"),
]
