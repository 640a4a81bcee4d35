"""Each kind of field, filled by keyboard: what is typed is what arrives."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import Field, SecretStr

from plugin_framework import PluginConfig
from plugin_framework.plugin.base import DatahubPlugin, parse_config
from tests.service.form.pages import Form, OpenForm

SAFE = 2**53 - 1


def server_reads(model: type[PluginConfig], form: Form) -> Any:
    """The config that the plugin gets when the form as it stands is sent."""
    assert form.verdict() == {"valid": True, "message": ""}
    return parse_config(type("Plugin", (DatahubPlugin,), {"Config": model}), form.config)


class Texts(PluginConfig):
    keyword: str = Field(title="Key word", description="What to look for.", min_length=2)
    nickname: str | None = None
    greeting: str = "hello"
    note: str = Field("", max_length=1000)
    must_say: str | None
    code: str = Field("ab", pattern="^[a-z]+$", examples=["abc"])


def test_texts(open_form: OpenForm) -> None:
    form = open_form(Texts)
    assert form.config == {"greeting": "hello", "must_say": None, "code": "ab"}
    form.type("Key word", "größe 😀")
    form.type("Greeting", "")
    form.type("Must Say", "5")
    form.type("Note", "two\nlines")
    assert form.config == {
        "keyword": "größe 😀",
        "greeting": "",
        "note": "two\nlines",
        "must_say": "5",
        "code": "ab",
    }
    assert server_reads(Texts, form).note == "two\nlines"


def test_a_text_that_may_be_null_is_null_when_it_is_cleared(open_form: OpenForm) -> None:
    class Config(PluginConfig):
        name: str | None = "someone"

    form = open_form(Config)
    assert form.config == {"name": "someone"}
    form.type("Name", "")
    assert form.config == {"name": None}


def test_a_text_says_what_is_wrong_once_it_was_left(open_form: OpenForm) -> None:
    form = open_form(Texts)
    form.type("Key word", "a")
    assert form.error_of(form.field("Key word")) == ""
    form.page.keyboard.press("Tab")
    assert form.error_of(form.field("Key word")) == "must have at least 2 characters"
    assert form.field("Key word").get_attribute("aria-invalid") == "true"
    form.type("Key word", "ab")
    assert form.error_of(form.field("Key word")) == ""
    assert form.field("Key word").get_attribute("aria-invalid") is None


class Numbers(PluginConfig):
    count: int = Field(3, ge=1, lt=10, description="How many.")
    ratio: float = Field(0.5, gt=0, le=1, multiple_of=0.1)
    total: int
    limit: int | None = None
    price: Decimal | None = None


def test_numbers_are_numbers(open_form: OpenForm) -> None:
    form = open_form(Numbers)
    assert form.config == {"count": 3, "ratio": 0.5}
    form.type("Total", "-7")
    form.type("Ratio", "0.3")
    form.type("Price", "0.12345678901234567890")
    form.field("Count").focus()
    form.page.keyboard.press("ArrowUp")
    typed = {"ratio": 0.3, "total": -7, "price": "0.12345678901234567890"}
    assert form.config == {"count": 4, **typed}
    assert server_reads(Numbers, form).price == Decimal("0.12345678901234567890")
    form.type("Count", "")
    assert form.config == typed


@pytest.mark.parametrize(
    ("label", "typed", "error"),
    [
        ("Count", "10", "must be less than 10"),
        ("Count", "0", "must be at least 1"),
        ("Total", "1.5", "must be a whole number"),
        ("Ratio", "0", "must be more than 0"),
        ("Ratio", "0.25", "must be a multiple of 0.1"),
        ("Total", "1e", "must be a number"),
        ("Total", "", "is required"),
    ],
)
def test_a_number_out_of_bounds_is_refused(
    open_form: OpenForm, label: str, typed: str, error: str
) -> None:
    form = open_form(Numbers)
    form.type("Total", "1")
    form.type(label, typed)
    said = form.verdict()
    assert said == {"valid": False, "message": f"{label}: {error}"}
    assert form.error_of(form.field(label)) == error


@pytest.mark.parametrize("typed", [str(SAFE + 2), f"-{SAFE + 2}", str(10**30)])
def test_an_integer_that_a_page_cannot_hold_is_refused_and_not_rounded(
    open_form: OpenForm, typed: str
) -> None:
    form = open_form(Numbers)
    form.type("Total", typed)
    assert form.config["total"] == typed
    assert str(SAFE) in form.verdict()["message"]
    form.type("Total", str(SAFE))
    assert form.config["total"] == SAFE
    assert form.verdict()["valid"]


class Size(enum.StrEnum):
    SMALL = "small"
    LARGE = "large"


class Choices(PluginConfig):
    size: Size = Size.SMALL
    level: Literal[1, 2, "all"]
    shade: Literal["dark"] | None = None
    fast: bool = True
    loud: bool
    maybe: bool | None = None
    version: Literal["v1"] = "v1"


def test_choices_arrive_with_their_types(open_form: OpenForm) -> None:
    form = open_form(Choices)
    assert form.config == {"size": "small", "fast": True, "loud": False, "version": "v1"}
    for label, letter in [("Size", "l"), ("Level", "2"), ("Maybe", "N")]:
        form.field(label).focus()
        form.page.keyboard.type(letter)
    form.field("Fast").focus()
    form.page.keyboard.press("Space")
    form.field("Shade").select_option("dark")
    assert form.config == {
        "size": "large",
        "level": 2,
        "shade": "dark",
        "fast": False,
        "loud": False,
        "maybe": False,
        "version": "v1",
    }
    assert server_reads(Choices, form).size is Size.LARGE
    form.field("Shade").select_option("—")
    assert "shade" not in form.config


def test_a_choice_shows_texts_as_they_are(open_form: OpenForm) -> None:
    class Config(PluginConfig):
        mode: Literal["true", "toString", ""] = "true"
        loose: bool = None  # type: ignore[assignment]  # as people write it
        other: Literal["a", "b"] = None  # type: ignore[assignment]  # as people write it

    form = open_form(Config)
    assert form.field("Mode").get_by_role("option").all_inner_texts() == [
        "true",
        "toString",
        "(empty)",
    ]
    assert form.config == {"mode": "true"}
    assert form.verdict()["valid"]


class Times(PluginConfig):
    day: dt.date
    at: dt.datetime
    clock: dt.time = dt.time(9, 30)
    span: dt.timedelta = dt.timedelta(hours=1)


def test_dates_and_times(open_form: OpenForm) -> None:
    form = open_form(Times)
    form.field("Day").focus()
    form.page.keyboard.type("02292024")
    form.type("At", "2024-02-29T10:30:00+02:00")
    form.type("Span", "1 day, 02:00")
    read = server_reads(Times, form)
    assert form.config["day"] == "2024-02-29"
    assert read.at.isoformat() == "2024-02-29T10:30:00+02:00"
    assert read.span == dt.timedelta(days=1, hours=2)
    form.type("At", "tomorrow")
    assert form.verdict()["message"] == "At: must be a date and time (YYYY-MM-DDTHH:MM)"


class Secrets(PluginConfig):
    token: SecretStr
    other: SecretStr = SecretStr("known to the server")


def test_a_secret_is_hidden_and_its_default_stays_on_the_server(open_form: OpenForm) -> None:
    form = open_form(Secrets)
    assert form.field("Token").get_attribute("type") == "password"
    assert form.config == {}
    form.type("Token", "s3cret")
    assert form.config == {"token": "s3cret"}
    assert server_reads(Secrets, form).other.get_secret_value() == "known to the server"


class Server(PluginConfig):
    """A machine."""

    host: str
    port: int = Field(5432, ge=1, le=65535)


class Lists(PluginConfig):
    tags: list[str] = Field([], max_length=2)
    ids: set[int] = Field({1})
    servers: list[Server] = Field(min_length=1)
    made: list[int] = Field(default_factory=lambda: [1, 2])
    pair: tuple[int, str] = (1, "a")


def test_lists_grow_and_shrink_by_keyboard(open_form: OpenForm) -> None:
    form = open_form(Lists)
    assert form.config == {"ids": [1], "servers": [], "pair": [1, "a"]}
    form.button("Add to Tags").focus()
    form.page.keyboard.press("Enter")
    form.page.keyboard.type("first")  # the new field has the focus
    form.button("Add to Tags").press("Space")
    form.page.keyboard.type("second")
    assert form.config["tags"] == ["first", "second"]
    assert form.button("Add to Tags").is_disabled()
    form.button("Remove Tags 1").press("Enter")
    assert form.config["tags"] == ["second"]
    assert form.field("Tags 1").get_by_role("textbox").input_value() == "second"
    assert (
        form.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove Tags 1"
    )
    form.page.keyboard.press("Enter")
    assert "tags" not in form.config


def test_a_list_of_models(open_form: OpenForm) -> None:
    form = open_form(Lists)
    assert form.verdict()["message"] == "Servers: must have at least 1 item"
    assert form.error_of(form.group("Servers")) == "must have at least 1 item"
    form.button("Add to Servers").press("Enter")
    form.page.keyboard.type("db")
    form.field("Pair 2").press("End")
    form.page.keyboard.type("b")
    assert form.config["servers"] == [{"host": "db", "port": 5432}]
    read = server_reads(Lists, form)
    assert (read.made, read.pair, read.ids) == ([1, 2], (1, "ab"), {1})


def test_an_empty_number_of_a_list_is_refused(open_form: OpenForm) -> None:
    form = open_form(Lists)
    form.button("Add to Made").press("Enter")
    assert form.config["made"] == [None]
    assert "Made \u203a 1: must be a whole number" in form.verdict()["message"]


class Node(PluginConfig):
    label: str
    next: Optional[Node] = None  # noqa: UP045 - a name that is not there yet


class Nested(PluginConfig):
    main: Server
    spare: Server | None = None
    root: Node | None = None
    limits: dict[str, int] = Field({})
    anything: Any = None


def test_nested_models_are_left_out_until_they_are_set(open_form: OpenForm) -> None:
    form = open_form(Nested)
    form.group("Main").get_by_label("Host").fill("one")
    assert form.config == {"main": {"host": "one", "port": 5432}}
    form.field("Set Spare").press("Space")
    form.group("Spare").get_by_label("Host").fill("two")
    assert form.config["spare"] == {"host": "two", "port": 5432}
    form.field("Set Spare").press("Space")
    assert form.config == {"main": {"host": "one", "port": 5432}}


def test_a_model_within_itself_is_drawn_as_deep_as_it_is_set(open_form: OpenForm) -> None:
    form = open_form(Nested)
    form.group("Main").get_by_label("Host").fill("one")
    form.field("Set Root").press("Space")
    form.group("Root").get_by_label("Label").fill("a")
    form.field("Set Next").press("Space")
    form.group("Next").get_by_label("Label").fill("b")
    assert form.config["root"] == {"label": "a", "next": {"label": "b"}}
    assert server_reads(Nested, form).root.next.label == "b"


def test_dictionaries_are_rows_of_keys_and_values(open_form: OpenForm) -> None:
    form = open_form(Nested)
    form.group("Main").get_by_label("Host").fill("one")
    form.button("Add to Limits").press("Enter")
    form.page.keyboard.type("__proto__")
    form.page.keyboard.press("Tab")
    form.page.keyboard.type("5")
    assert form.config["limits"] == {"__proto__": 5}
    assert server_reads(Nested, form).limits == {"__proto__": 5}
    form.button("Add to Limits").press("Enter")
    form.page.keyboard.type("__proto__")
    assert 'Limits: has the key "__proto__" twice' in form.verdict()["message"]
    assert form.error_of(form.group("Limits")) == 'has the key "__proto__" twice'


@pytest.mark.parametrize(
    ("typed", "value"), [('{"a": [1, null]}', {"a": [1, None]}), ('"text"', "text"), ("0.5", 0.5)]
)
def test_anything_is_typed_as_json(open_form: OpenForm, typed: str, value: Any) -> None:
    form = open_form(Nested)
    form.group("Main").get_by_label("Host").fill("one")
    form.type("Anything", typed)
    assert form.config["anything"] == value
    assert server_reads(Nested, form).anything == value


@pytest.mark.parametrize(
    ("typed", "error"),
    [("{", "must be JSON"), ("[9007199254740993]", "must not hold integers beyond")],
)
def test_what_json_cannot_say_is_refused(open_form: OpenForm, typed: str, error: str) -> None:
    form = open_form(Nested)
    form.group("Main").get_by_label("Host").fill("one")
    form.type("Anything", typed)
    said = form.verdict()
    assert not said["valid"]
    assert said["message"].startswith(f"Anything: {error}")


class Cat(PluginConfig):
    kind: Literal["cat"]
    lives: int = 9


class Dog(PluginConfig):
    kind: Literal["dog"]
    name: str


class Unions(PluginConfig):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    either: int | str = 5
    target: Server | list[str] | None = None


def test_alternatives_are_chosen(open_form: OpenForm) -> None:
    form = open_form(Unions)
    assert form.config == {"pet": {"kind": "cat", "lives": 9}, "either": 5}
    form.group("Pet").get_by_label("Kind").select_option("Dog")
    form.group("Pet").get_by_label("Name").fill("Rex")
    form.group("Either").get_by_label("Kind").select_option("Text")
    form.group("Either").get_by_label("Value").fill("5")
    form.field("Set Target").press("Space")
    form.group("Target").get_by_label("Kind").select_option("List: Text")
    form.button("Add to Value").press("Enter")
    form.page.keyboard.type("x")
    assert form.config == {
        "pet": {"kind": "dog", "name": "Rex"},
        "either": "5",
        "target": ["x"],
    }
    assert server_reads(Unions, form).pet == Dog(kind="dog", name="Rex")
