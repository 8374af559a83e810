"""The WSGI application that the web server runs."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticos.settings")
application = get_wsgi_application()

from agenticos import pulse  # noqa: E402 - after the settings
from agenticos.postgres.starting import refuse_unsafe_role  # noqa: E402 - the same

refuse_unsafe_role()
pulse.start()
