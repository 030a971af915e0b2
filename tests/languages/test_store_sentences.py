"""What stores say is known to the pages, word for word, so that it can be shown in other languages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation

import sessionpersist
from sessionpersist.configuration import store_sentences
from sessionpersist.configuration.store_sentences import GAP, SENTENCES, find, in_language, said, store_name
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.database import meanings
from sessionpersist.stores.settings import MongoSettings, RedisSettings

APP = Path(sessionpersist.__file__).parent
WINGS = ("stores", "handover", "roster", "session")
TELLING = {
    *("StoreUnavailable", "StoreMisconfigured", "SessionTooLarge", "ForeignRecord", "Lost", "NotAllowed"),
    *("Duplicate", "GaveWay", "NoText", "RefusedValue", "LoginRefused", "expect", "Reply", "Crowded"),
}
# Filled with sentences and parts of sentences, each of which is looked at where it is written, or in a test here.
GAPS_ONLY = re.compile(r"\W*(\{[^}]*\}\W*)+")
OF_SEVERAL_MAKES = {
    "The {name} {meaning.text}.",  # see test_of_databases
    "REDIS {what}.",
    "{which} can't be read.",
    "The REDIS user may not run the command{_command(words)}, which sessions need.",
    "{error} {_what_is_missing(parts)} could not be created.",
    "An ended record has a reason of one byte.",  # a programmer's fault
}
PUT_IN = {
    "The {name}": "The database “7”",
    "the {name}": "the database “7”",
    "{self.kind}": "node",
    "{wish}": "",
    "{_command(words)}": " SET",
    "{'does not speak' if settings.tls else 'wants'}": "wants",
}


def written() -> Iterator[str]:
    """Every text that is raised of a store, or yielded by one, with its gaps."""
    for path in (
        path for wing in WINGS for path in [APP / wing, *(APP / wing).rglob("*.py")] if path.is_file()
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            yield from filter(None, map(template, told_by(node)))


def told_by(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if name in TELLING:
            return args[1:2] if name in ("expect", "Reply") else args[:1]
        case ast.Yield(value=ast.Tuple(elts=[ast.Constant() | ast.JoinedStr() as first, _])):
            return [first]
        case ast.Yield(value=ast.Constant() | ast.JoinedStr() as value):
            return [value]
    return []


def template(node: ast.expr) -> str | None:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                str(each.value) if isinstance(each, ast.Constant) else f"{{{ast.unparse(each.value)}}}"
                for each in parts
                if isinstance(each, ast.Constant | ast.FormattedValue)
            )
    return None


def filled(text: str) -> str:
    for gap, words in PUT_IN.items():
        text = text.replace(gap, words)
    return re.sub(r"\{[^}]*\}", "7", text)


def is_sentence(text: str) -> bool:
    return not GAPS_ONLY.fullmatch(text) and (" " in text or text.istitle())


def test_every_sentence_of_a_store_is_known() -> None:
    sentences = sorted(filter(is_sentence, set(written()) - OF_SEVERAL_MAKES))
    assert len(sentences) > 100, "they are found where they are written"
    assert [each for each in sentences if find(filled(each)) is None] == []


def test_of_databases() -> None:
    tables = (meanings.MEANINGS, meanings.WORDS, meanings.CONNECTING, meanings.CONNECTING_WORDS)
    for meaning in {each for table in tables for each in table.values()}:
        assert find(f"The database “default” {meaning.text}.") is not None


@pytest.mark.parametrize(
    "text",
    [
        RedisSettings(host="redis", port=6379).describe(),
        RedisSettings(mode="CLUSTER", nodes="a:1\nb:2").describe(),
        MongoSettings(host="mongo", port=27017, database="site").describe(),
        "REDIS wants a password.",
        "REDIS refused the user name or the password.",
        "A file of the certificates can't be read.",
        "The REDIS user may not run the command SET, which sessions need.",
        "primary, no replica",
        "3 primaries, 6 replicas",
    ],
)
def test_what_is_put_together_is_known(text: str) -> None:
    assert find(text) is not None


def test_no_sentence_is_written_twice() -> None:
    assert len(set(SENTENCES)) == len(SENTENCES)


def test_a_sentence_in_a_sentence_is_translated_with_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sentences, "gettext", shouted)
    text = (
        "REDIS at cache:6379, database 0 has failed repeatedly and is being given a moment. The last failure: "
        "Nothing listens on port 6379 of cache: the connection was refused."
    )
    with translation.override("de"):
        assert in_language(text) == (
            "REDIS AT cache:6379, DATABASE 0 HAS FAILED REPEATEDLY AND IS BEING GIVEN A MOMENT. THE LAST FAILURE: "
            "NOTHING LISTENS ON PORT 6379 OF cache: THE CONNECTION WAS REFUSED."
        )
        # A server that speaks in our words has nothing in their gaps.
        assert in_language("REDIS at a:1 refused: “{server} did not answer in time.”").startswith("REDIS AT")
        assert in_language("whatever a server says {0} {x}") == "whatever a server says {0} {x}"
    with translation.override("en-gb"):
        assert in_language(text) == text


def shouted(sentence: str) -> str:
    """A language in which everything is said in capitals."""
    return "".join(f"{{{each}}}" if at % 2 else each.upper() for at, each in enumerate(GAP.split(sentence)))


def test_a_store_and_what_is_wrong_with_it_are_told_in_the_language_of_the_page() -> None:
    settings = RedisSettings(host="cache", port=6379)
    with translation.override("de"):
        assert store_name(settings) == "REDIS auf cache:6379, Datenbank 0"
        assert said(StoreMisconfigured("There is no port 0.")) == "Einen Port 0 gibt es nicht."
