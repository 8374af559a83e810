from django.apps import AppConfig


class AgenticOSConfig(AppConfig):
    name = "agenticos"
