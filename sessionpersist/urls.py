"""``path("account/", include("sessionpersist.urls"))``: the pages of users about their sessions."""

from django.urls import path

from sessionpersist.account import refusal, timeout, views

app_name = "sessionpersist"

urlpatterns = [
    path("sessions/", views.show, name="sessions"),
    path("sessions/end/", views.end, name="end"),
    path("sessions/end-others/", views.end_others, name="end_others"),
    path("sessions/limit/", refusal.limit, name="limit"),
    path("sessions/back/", timeout.back, name="back"),
    path("sessions/remaining/", timeout.remaining, name="remaining"),
    path("sessions/stay/", timeout.stay, name="stay"),
]
