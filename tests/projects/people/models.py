"""Users as other projects have them: with a UUID as the primary key, and with a long name."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractBaseUser
from django.db import models


class Person(AbstractBaseUser):
    """May do everything."""

    is_staff = models.BooleanField(default=True)

    class Meta:
        abstract = True

    def has_perm(self, permission: str, obj: object = None) -> bool:
        return True

    def has_module_perms(self, label: str) -> bool:
        return True


class ByUuid(Person):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)

    USERNAME_FIELD = EMAIL_FIELD = "email"


class ByName(Person):
    """Without an e-mail address."""

    name = models.CharField(primary_key=True, max_length=400)

    USERNAME_FIELD = "name"
