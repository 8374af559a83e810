"""How often something may be tried: counted in the database, one row per key, exactly.

A cache counts by reading and writing back, and forgets what it has no room for; forty guesses at
once must not slip through that. One conditional UPDATE decides, so of those who come at the same
time no more than `amount` get through (the generic cell rate algorithm: `amount` at once, and
from then on one in every `per_s / amount` seconds).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from django.db.models import F, FloatField, Value
from django.db.models.functions import Greatest

from tenants.models import Attempt

KEPT_S = 3600


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` tries at once for one key, and one more every `per_s / amount` seconds."""

    name: str
    amount: int
    per_s: int

    @property
    def step(self) -> float:
        return self.per_s / self.amount


PASSWORDS_OF_ONE = Limit("login", 5, 300)  # for one account, from wherever
PASSWORDS_FROM_ONE = Limit("login-from", 10, 60)  # from one address, for whichever account
CODES_OF_ONE = Limit("second-factor", 5, 300)
INVITATIONS = Limit("invitations", 30, 3600)  # of one tenant: they are mail to strangers


def take(limit: Limit, key: str) -> bool:
    """Count one try; False when there are none left, and then nothing is counted."""
    now = time.time()
    row = Attempt.objects.filter(key=_name(limit, key))
    Attempt.objects.bulk_create([Attempt(key=_name(limit, key), free_at=0)], ignore_conflicts=True)
    later = Greatest(F("free_at"), Value(now, FloatField())) + limit.step
    return bool(row.filter(free_at__lte=now + limit.per_s - limit.step).update(free_at=later))


def give_back(limit: Limit, key: str) -> None:
    """Uncount one try, which turned out to be no guess; and forget keys of long ago."""
    Attempt.objects.filter(key=_name(limit, key)).update(free_at=F("free_at") - limit.step)
    Attempt.objects.filter(free_at__lt=time.time() - KEPT_S).delete()


def _name(limit: Limit, key: str) -> str:
    """Of fixed length, and without the e-mail address that it may be about."""
    return f"{limit.name}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"
