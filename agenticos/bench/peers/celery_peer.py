"""The dispatch work as Celery's users write it: a task per message, Redis as the broker.

`CAREFUL=1` is what its documentation advises for work that must not get lost: tasks acknowledged
late, put back when a worker dies, retried on errors. Without it, its defaults. No pauses, limits or
checks: only the sending.
"""

from __future__ import annotations

import os

import httpx
from celery import Celery
from psycopg_pool import ConnectionPool

CAREFUL = os.environ["CAREFUL"] == "1"
THREADS = int(os.environ["THREADS"])

app = Celery("peer", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_acks_late=CAREFUL,
    task_reject_on_worker_lost=CAREFUL,
    task_ignore_result=True,
    worker_prefetch_multiplier=1 if CAREFUL else 4,
    # How long Redis waits before it gives an unacknowledged task to somebody else (default: an
    # hour; here as long as our own lease, so that the run ends).
    broker_transport_options={"visibility_timeout": int(os.environ["VISIBLE_S"])},
    broker_connection_retry_on_startup=True,
)
pool = ConnectionPool(os.environ["PEER_DATABASE_URL"], max_size=THREADS, open=False)
client = httpx.Client(
    base_url=os.environ["PROVIDER_URL"],
    limits=httpx.Limits(max_keepalive_connections=THREADS),
    trust_env=False,
)


@app.task(
    name="send",
    autoretry_for=(httpx.HTTPError,) if CAREFUL else (),
    retry_backoff=True,
    max_retries=5,
)
def send(message_id: int) -> None:
    """Send one message, unless its row says that it was sent."""
    pool.open()
    with pool.connection() as link:
        row = link.execute(
            "SELECT account, recipient, text, sent FROM peer_message WHERE id = %s", [message_id]
        ).fetchone()
    assert row is not None
    account, recipient, text, sent = row
    if sent:
        return
    body = {"recipient": {"id": recipient}, "message": {"text": text}}
    headers = {"Authorization": "Bearer peer-token-000001"}
    client.post(f"/{account}/messages", json=body, headers=headers).raise_for_status()
    with pool.connection() as link:
        link.execute("UPDATE peer_message SET sent = true WHERE id = %s", [message_id])


if __name__ == "__main__":
    # A task per message, as a view would have queued them.
    with pool, pool.connection() as link:
        for (message_id,) in link.execute("SELECT id FROM peer_message ORDER BY id").fetchall():
            send.delay(message_id)
