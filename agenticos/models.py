"""Signs of life of the workers, and the limiter. Of no tenant, and hold no tenant's data."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Chore(models.Model):
    """When a recurring chore of the whole system was last done, by whichever worker."""

    name = models.CharField(max_length=60, unique=True)
    done_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class RateLimit(models.Model):
    """When a caller will owe nothing any more (agenticos/limits.py); without Redis alone.

    Of no tenant: strangers have none, and the limiter counts before a scope is entered. UNLOGGED
    on PostgreSQL: a visit costs no wait for the disk, and after a crash everybody owes nothing.
    """

    key = models.CharField(max_length=120, primary_key=True)
    tat = models.BigIntegerField()  # microseconds of the epoch

    def __str__(self) -> str:
        return self.key


class Measure(models.Model):
    """The running sum of one series of a metric, over all processes there ever were.

    Kept here and not in files: web and workers may be on different hosts, a killed process leaves
    nothing to clear away, and there are as many rows as series.
    """

    name = models.CharField(max_length=80)  # as Prometheus spells it, such as …_bucket
    labels = models.CharField(max_length=200)  # JSON, sorted
    value = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "labels"], name="measure_series")]

    def __str__(self) -> str:
        return f"{self.name} {self.labels}"


class WorkerBeat(models.Model):
    """A sign of life of one worker group."""

    owner = models.CharField(max_length=80, unique=True)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    # The last time a task came back through the whole queue: a dead-locked cluster stays behind.
    echoed_at = models.DateTimeField(null=True, blank=True)
    stopped_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.owner
