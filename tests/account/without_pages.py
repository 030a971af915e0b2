"""The addresses of a project that does not include ours."""

from django.contrib.auth.views import LoginView
from django.urls import path

from project.views import home

urlpatterns = [
    path("login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("", home, name="home"),
]
