"""The import path of migration 0001; the field itself is in stores/passwords.py."""

from sessionpersist.stores.passwords import EncryptedPasswordField

__all__ = ["EncryptedPasswordField"]
