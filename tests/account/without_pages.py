"""The addresses of a project that does not include ours."""

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import path

from project.views import home


def timed(request: HttpRequest) -> HttpResponse:
    page = Template("page: {% load sessionpersist %}{% session_timeout %}")
    return HttpResponse(page.render(RequestContext(request)))


urlpatterns = [
    path("login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("timed/", timed),
    path("", home, name="home"),
]
