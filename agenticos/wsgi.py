"""The WSGI application that the web server runs."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticos.settings")
application = get_wsgi_application()

from agenticos import pulse  # noqa: E402  # needs Django to be set up

pulse.start()
