"""Every address below /api/."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, path, resolve

from agenticos.api import accounts, campaigns, classic, icp, integrations, leads, schema
from agenticos.api.base import NoAddress, open_door

no_address = NoAddress.as_view()


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
    # Resources.
    path("v1/leads", leads.Leads.as_view()),
    path("v1/leads/bulk", leads.LeadsBulk.as_view()),
    path("v1/leads/<int:pk>", leads.LeadDetail.as_view()),
    path("v1/leads/<int:pk>/score", leads.LeadScoreView.as_view()),
    path("v1/leads/<int:pk>/suppress", leads.LeadSuppress.as_view()),
    path("v1/suppressions", leads.Suppressions.as_view()),
    path("v1/imports", leads.Imports.as_view()),
    path("v1/imports/<int:pk>", leads.ImportDetail.as_view()),
    path("v1/imports/<int:pk>/problems", leads.ImportProblems.as_view()),
    path("v1/icp", icp.IcpView.as_view()),
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
        campaigns.CampaignMessages.as_view(),
        name="api-campaign-messages",
    ),
    path("v1/campaigns/<int:pk>/events", campaigns.CampaignEvents.as_view()),
    path("v1/messages/<int:pk>/retry", campaigns.MessageRetry.as_view()),
    path("v1/messages/<int:pk>/resolve", campaigns.MessageResolve.as_view()),
    path("v1/templates", campaigns.Templates.as_view()),
    path("v1/templates/<int:pk>", campaigns.TemplateDetail.as_view()),
    path("v1/accounts", accounts.Accounts.as_view()),
    path("v1/accounts/<int:pk>", accounts.AccountDetail.as_view()),
    path("v1/accounts/<int:pk>/capacity", accounts.AccountCapacity.as_view()),
    path("v1/accounts/<int:pk>/block", accounts.AccountBlock.as_view()),
    path("v1/accounts/<int:pk>/unblock", accounts.AccountUnblock.as_view()),
    path("v1/sync-items", integrations.SyncItems.as_view()),
    path("v1/sync-items/<int:pk>/retry", integrations.SyncItemRetry.as_view()),
    # What it is.
    path("schema/", schema.document, name="api-schema"),
    path("docs/", schema.docs, name="api-docs"),
    path("<path:rest>", fallback),
]
