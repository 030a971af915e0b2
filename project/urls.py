"""The addresses of the site."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

from project.views import healthz, home
from sessionpersist.account.login import LoginView

login = LoginView.as_view(template_name="login.html", redirect_authenticated_user=True)

urlpatterns = [
    path("", home, name="home"),
    path("login/", login, name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("account/", include("sessionpersist.urls")),
    path("health/", include("sessionpersist.health")),
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
    # With DEBUG only, but there under every server, not just `runserver`. Else a web server has STATIC_ROOT.
    *staticfiles_urlpatterns(),
]
