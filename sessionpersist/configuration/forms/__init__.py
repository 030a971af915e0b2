"""The forms of the Login Configuration. They need no request: the page uses them, and the commands and checks do.

    form = LoginConfigurationForm(data)
    if form.is_valid():  # has tried the store, and made its table or index
        form.save(saved_by="ada")

``outer`` has the choice of the store; each store has a form of its own with plain field names (``host``, ``port``).
On the page and in the model a field has the name that ``StoreSettings.field`` gives it (``redis_host``).
"""

from sessionpersist.configuration.forms.outer import LoginConfigurationForm, Overtaken
from sessionpersist.configuration.forms.registry import STORE_FORMS, secret_fields

__all__ = ["STORE_FORMS", "LoginConfigurationForm", "Overtaken", "secret_fields"]
