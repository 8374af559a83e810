from django.apps import AppConfig


class AgenticOSConfig(AppConfig):
    name = "agenticos"

    def ready(self) -> None:
        from agenticos import reporting

        reporting.start()
