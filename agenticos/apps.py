from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class AgenticOSConfig(AppConfig):
    name = "agenticos"

    def ready(self) -> None:
        from agenticos import reporting

        reporting.start()

        from django.conf import settings

        if settings.DATABASES["default"]["ENGINE"] != "agenticos.postgres":
            return  # machines with SQLite alone need no libpq
        from agenticos.postgres import rights

        pre_migrate.connect(rights.give, sender=self, dispatch_uid="agenticos.rights.give")
        post_migrate.connect(rights.take, sender=self, dispatch_uid="agenticos.rights.take")
