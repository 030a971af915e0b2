"""Where the pages of the small site are, with Django's own for logging in and out."""

from __future__ import annotations

from django.contrib.auth import views as auth
from django.urls import path

import sessionpersist
from tests.engine import views

urlpatterns = [
    path("login/", auth.LoginView.as_view(next_page="/whoami/")),
    path("logout/", auth.LogoutView.as_view(next_page="/ignore/")),
    path("password/", auth.PasswordChangeView.as_view(success_url="/whoami/")),
    path("ignore/", views.ignore),
    path("whoami/", views.whoami),
    path("visit/", views.visit),
    path("nested/", views.nested),
    path("message/", views.add_message),
    path("messages/", views.show_messages),
    path("overtaken/", views.overtaken_by_a_logout),
    path("fail/", views.fail),
    path("async/", views.async_visit),
    path("news/", views.news),
    path("count-news/", views.count_news),
    path("async-news/", views.async_news),
    path("class-news/", views.News.as_view()),
    path("marked-news/", sessionpersist.background(views.News.as_view())),
    path("marked-async-news/", sessionpersist.background(views.AsyncNews.as_view())),
    path("decorated-news/", views.decorated_news),
    path("async-remember/", views.async_remember),
    path("forget/", views.forget),
]
