"""``path("account/", include("sessionpersist.urls"))``: the pages of users about their sessions."""

from django.urls import path

from sessionpersist.account import timeout

app_name = "sessionpersist"

urlpatterns = [
    path("sessions/back/", timeout.back, name="back"),
    path("sessions/remaining/", timeout.remaining, name="remaining"),
    path("sessions/stay/", timeout.stay, name="stay"),
]
