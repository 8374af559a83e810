"""`Idempotency-Key`: a request that is repeated is answered again and not done again.

The record is written first, in the transaction of the work. A second request with the same key
waits at the unique index for the first one to end: then it replays the answer, or, when the first
one was refused (its record is gone with its work), does the work itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, OperationalError, transaction
from django.utils.translation import gettext as _
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from agenticos import sql
from agenticos.api.problems import Problem
from tenants.authentication import Caller
from tenants.models import IdempotencyRecord

HEADER: Final = "Idempotency-Key"
KEPT: Final = timedelta(hours=24)
WAIT_S: Final = 10  # how long a repeat waits for the request that came first
PURGED: Final = 50  # old records that a new one takes with it


def read_header(value: str) -> str:
    """The key that was sent. Raises Problem unless it is 1 to 255 visible characters."""
    if not 1 <= len(value) <= 255 or not value.isascii() or not value.isprintable():
        raise Problem(
            400,
            "bad_idempotency_key",
            _("Idempotency-Key takes 1 to 255 visible ASCII characters."),
        )
    return value


def digest(data: Any, files: dict[str, UploadedFile] | None = None) -> str:
    """What a body says, whatever the order of its keys and however its parts are bounded."""
    found = hashlib.sha256()
    found.update(json.dumps(data, sort_keys=True, ensure_ascii=True, default=str).encode())
    for name, file in sorted((files or {}).items()):
        found.update(f"\n{name}\n{file.name}\n".encode())
        for chunk in file.chunks():
            found.update(chunk)
        file.seek(0)
    return found.hexdigest()


def once(
    caller: Caller,
    key: str,
    *,
    method: str,
    path: str,
    body: str,
    now: datetime,
    work: Callable[[], Response],
) -> Response:
    """Do `work` and keep its answer, or give the answer that is kept.

    `work` says no by raising: then nothing is kept. Raises Problem 422 for another request under
    the same key, 409 when the first one is still running after the wait.
    """
    with transaction.atomic():
        record = _begin(caller, key, method, path[:500], body, now)
        if record.status:
            if (record.method, record.path, record.body) != (method, path[:500], body):
                raise Problem(
                    422,
                    "idempotency_key_reused",
                    _("This Idempotency-Key was sent with another request. Take a new one."),
                )
            return Response(
                json.loads(record.answer) if record.answer else None,
                status=record.status,
                headers={"Idempotent-Replayed": "true"},
            )
        response = work()
        record.status = response.status_code
        rendered: bytes = JSONRenderer().render(response.data)
        record.answer = rendered.decode()
        record.save(update_fields=["status", "answer"])
        return response


def _begin(
    caller: Caller, key: str, method: str, path: str, body: str, now: datetime
) -> IdempotencyRecord:
    """A record of our own, or the finished one of the request that came first."""
    held = IdempotencyRecord.objects.filter(api_key=caller.key, key=key)
    held.filter(created_at__lt=now - KEPT).delete()
    try:
        with sql.waiting_at_most(WAIT_S), transaction.atomic():
            record = IdempotencyRecord.objects.create(
                tenant_id=caller.key.tenant_id,
                api_key=caller.key,
                key=key,
                method=method,
                path=path,
                body=body,
                created_at=now,
            )
    except IntegrityError:
        return held.get()
    except OperationalError as error:
        raise Problem(
            409,
            "idempotency_in_progress",
            _("The first request with this Idempotency-Key is still running. Try again later."),
            headers={"Retry-After": "2"},
        ) from error
    old = IdempotencyRecord.objects.filter(created_at__lt=now - KEPT)
    ids = old.select_for_update(skip_locked=True).values_list("pk", flat=True)[:PURGED]
    IdempotencyRecord.objects.filter(pk__in=list(ids)).delete()
    return record
