"""Signs of life of the workers. Of no tenant, and they hold no tenant's data."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Chore(models.Model):
    """When a recurring chore of the whole system was last done, by whichever worker."""

    name = models.CharField(max_length=60, unique=True)
    done_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


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
