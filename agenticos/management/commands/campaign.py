"""`campaign TENANT start|pause|resume|stop|status|forecast ID`: the page's actions and numbers."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from campaigns import actions
from campaigns.models import Campaign
from campaigns.planning import forecast_for
from campaigns.status import status_of
from tenants.models import Tenant

VERBS = ["start", "pause", "resume", "stop", "status", "forecast"]


class Command(BaseCommand):
    help = "Start, pause, resume or stop a campaign; print how it stands, or its forecast, as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant", help="the tenant's slug")
        parser.add_argument("verb", choices=VERBS)
        parser.add_argument("id", type=int, help="the campaign's id")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.", returncode=2)
        with scope.as_tenant(tenant):
            campaign = Campaign.objects.select_related("tenant").filter(pk=options["id"]).first()
            if campaign is None:
                raise CommandError(f"{tenant.slug} has no campaign {options['id']}.", returncode=2)
            try:
                self._do(options["verb"], campaign)
            except Refused as refusal:
                self.stderr.write(f"{refusal} ({refusal.code})")
                sys.exit(1)
            campaign.refresh_from_db()
            now = timezone.now()
            if options["verb"] == "forecast":
                answer = forecast_for(campaign, now=now).as_json()
            else:
                answer = status_of(campaign, now)
            self.stdout.write(json.dumps(answer, indent=1))

    def _do(self, verb: str, campaign: Campaign) -> None:
        now = timezone.now()
        if verb == "start":
            actions.start_campaign(campaign, by=None, now=now)
        elif verb == "pause":
            actions.pause_campaign(campaign, by=None, now=now)
        elif verb == "resume":
            actions.resume_campaign(campaign, by=None, now=now)
        elif verb == "stop":
            actions.stop_campaign(campaign, by=None, now=now)
