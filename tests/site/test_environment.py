"""How the variables of the environment are read."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.environment import Environment


@pytest.mark.parametrize(
    ("text", "flag"), [("true", True), ("On", True), ("0", False), ("no", False), ("", False)]
)
def test_a_flag_is_on_or_off(text: str, flag: bool) -> None:
    assert Environment({"DEBUG": text}).flag("DEBUG") is flag
    assert Environment({}).flag("DEBUG", default=True) is True


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf", "1,5"])
def test_a_number_is_zero_or_more(text: str) -> None:
    with pytest.raises(
        ImproperlyConfigured, match=r"^The environment variable SECONDS must be a number, zero or more\.$"
    ):
        Environment({"SECONDS": text}).number("SECONDS")


def test_words_stand_between_commas() -> None:
    assert Environment({"HOSTS": "a.example, b.example,,"}).words("HOSTS") == ["a.example", "b.example"]
    assert Environment({}).words("HOSTS") == []
