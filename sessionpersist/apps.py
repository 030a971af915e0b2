from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SessionPersistConfig(AppConfig):
    name = "sessionpersist"
    verbose_name = _("Security")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sessionpersist import checks, receivers  # noqa: F401 - they register themselves
        from sessionpersist.account import changes
        from sessionpersist.telemetry import listening

        changes.watch()
        listening.start()
