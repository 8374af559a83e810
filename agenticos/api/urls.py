"""Every address below /api/."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, path, register_converter, resolve
from django.urls.converters import PathConverter

from agenticos.api import (
    accounts,
    audit,
    bulk,
    campaigns,
    classic,
    events,
    forecasts,
    icp,
    imports,
    integrations,
    leads,
    messages,
    privacy,
    schema,
    scores,
    segments,
    suppressions,
    templates,
    timeline,
    tokens,
    usage,
)
from agenticos.api.base import NoAddress, open_door

no_address = NoAddress.as_view()


class Anything(PathConverter):
    """The rest of an address, also with a line break in it: a program gets its answer as JSON."""

    regex = "(?s:.+)"


register_converter(Anything, "anything")


@open_door
def fallback(request: HttpRequest, rest: str) -> HttpResponseBase:
    """An address with a slash too many or too few is meant all the same; else there is none."""
    bare = request.path_info.rstrip("/")
    for meant in (bare, bare + "/"):
        if meant != request.path_info:
            try:
                match = resolve(meant)
            except Resolver404:
                continue
            if match.func is not fallback:
                answer: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
                return answer
    return no_address(request)


urlpatterns = [
    # The four addresses of the first system.
    path("campaign/start", classic.ClassicStart.as_view(), name="api-campaign-start"),
    path("campaign/<int:pk>", classic.ClassicDetail.as_view(), name="api-campaign"),
    path("campaign/<int:pk>/stop", classic.ClassicStop.as_view(), name="api-campaign-stop"),
    path("campaigns", classic.ClassicList.as_view()),
    # A key for a token of ten minutes.
    path("auth/token", tokens.AuthToken.as_view(), name="api-token"),
    # Resources.
    path("v1/leads", leads.Leads.as_view()),
    path("v1/leads/bulk", bulk.LeadsBulk.as_view()),
    path("v1/leads/<int:pk>", leads.LeadDetail.as_view()),
    path("v1/leads/<int:pk>/score", scores.LeadScoreView.as_view()),
    path("v1/leads/<int:pk>/timeline", timeline.LeadTimeline.as_view()),
    path("v1/leads/<int:pk>/erase", privacy.LeadErase.as_view()),
    path("v1/leads/<int:pk>/subject-export", privacy.LeadSubjectExport.as_view()),
    path("v1/leads/<int:pk>/suppress", suppressions.LeadSuppress.as_view()),
    path("v1/suppressions", suppressions.Suppressions.as_view()),
    path("v1/segments", segments.Segments.as_view()),
    path("v1/segments/<int:pk>", segments.SegmentDetail.as_view()),
    path("v1/imports", imports.Imports.as_view()),
    path("v1/imports/<int:pk>", imports.ImportDetail.as_view()),
    path("v1/imports/<int:pk>/problems", imports.ImportProblems.as_view()),
    path("v1/icp", icp.IcpView.as_view()),
    path("v1/icp/preview", icp.IcpPreview.as_view()),
    path("v1/icp/versions", icp.IcpVersions.as_view()),
    path("v1/icp/versions/<int:number>/restore", icp.IcpRestore.as_view()),
    path("v1/campaigns", campaigns.Campaigns.as_view()),
    path("v1/campaigns/<int:pk>", campaigns.CampaignDetail.as_view()),
    path("v1/campaigns/<int:pk>/start", campaigns.CampaignStart.as_view()),
    path("v1/campaigns/<int:pk>/pause", campaigns.CampaignPause.as_view()),
    path("v1/campaigns/<int:pk>/resume", campaigns.CampaignResume.as_view()),
    path("v1/campaigns/<int:pk>/stop", campaigns.CampaignStop.as_view()),
    path(
        "v1/campaigns/<int:pk>/messages",
        messages.CampaignMessages.as_view(),
        name="api-campaign-messages",
    ),
    path("v1/campaigns/<int:pk>/forecast", forecasts.CampaignForecast.as_view()),
    path("v1/campaigns/<int:pk>/events", events.CampaignEvents.as_view()),
    path("v1/messages/<int:pk>/retry", messages.MessageRetry.as_view()),
    path("v1/messages/<int:pk>/resolve", messages.MessageResolve.as_view()),
    path("v1/templates", templates.Templates.as_view()),
    path("v1/templates/<int:pk>", templates.TemplateDetail.as_view()),
    path("v1/accounts", accounts.Accounts.as_view()),
    path("v1/accounts/<int:pk>", accounts.AccountDetail.as_view()),
    path("v1/accounts/<int:pk>/capacity", accounts.AccountCapacity.as_view()),
    path("v1/accounts/<int:pk>/block", accounts.AccountBlock.as_view()),
    path("v1/accounts/<int:pk>/unblock", accounts.AccountUnblock.as_view()),
    path("v1/usage", usage.Usage.as_view()),
    path("v1/audit", audit.Audit.as_view()),
    path("v1/sync-items", integrations.SyncItems.as_view()),
    path("v1/sync-items/<int:pk>/retry", integrations.SyncItemRetry.as_view()),
    path("v1/dead-letters", integrations.DeadLetters.as_view()),
    path("v1/dead-letters/<int:pk>/replay", integrations.DeadLetterReplay.as_view()),
    path("v1/dead-letters/<int:pk>/discard", integrations.DeadLetterDiscard.as_view()),
    # What it is.
    path("schema/", schema.document, name="api-schema"),
    path("docs/", schema.docs, name="api-docs"),
    path("<anything:rest>", fallback),
]
