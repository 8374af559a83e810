"""The WSGI application that the web server runs."""

import os
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticos.settings")
_django = get_wsgi_application()

from agenticos import pulse  # noqa: E402 - needs Django to be set up
from agenticos.postgres.starting import refuse_unsafe_role  # noqa: E402 - the same

refuse_unsafe_role()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Django's, with the pulse: it begins with the first request, so never before a fork."""
    pulse.start()
    return _django(environ, start_response)
