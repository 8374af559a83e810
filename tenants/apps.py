from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "tenants"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in

        from tenants import events, sessions

        user_logged_in.connect(sessions.begin)
        events.listen()
