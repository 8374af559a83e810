#!/usr/bin/env python
"""Django's command line, with AgenticOS' settings."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticos.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A wrong setting: the sentence is enough.
        sys.exit(f"AgenticOS does not start: {error}")
