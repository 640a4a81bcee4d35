"""What holds of the page as a whole: how it is loaded, its safety, its looks."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from playwright.sync_api import Page
from pydantic import ConfigDict, Field, SecretStr

from plugin_framework import PluginConfig
from plugin_framework.service.form import ScriptShape, config_script
from tests.service.form.pages import STARTS_FORM, Form, OpenForm, Site
from tests.service.form.test_fields import (
    Choices,
    Lists,
    Nested,
    Node,
    Numbers,
    Texts,
    Times,
    Unions,
)

HOSTILE = "</script><img src=x onerror=alert(1)>'\"`${1}"
DRAWN = "typeof page.init === 'function' && typeof page.validateConfig === 'function'"
STARTS_MODULE = """
const tag = document.createElement("script");
document.head.append(Object.assign(tag, { type: "module", src: "shown.js" }));
"""
IMPORTS = STARTS_FORM.replace("datahubPluginConfig", "page")


@pytest.mark.parametrize(
    ("shape", "expression"),
    [
        ("script", "(text) => { const page = (0, eval)(text); return DRAWN }"),
        ("script", "(text) => { const page = new Function('return ' + text)(); return DRAWN }"),
        ("script", "(text) => { (0, eval)(text); const page = datahubPluginConfig; return DRAWN }"),
        ("function", "(text) => { const page = new Function(text)(); return DRAWN }"),
    ],
)
def test_the_script_gives_the_object_however_it_is_evaluated(
    page: Page, shape: ScriptShape, expression: str
) -> None:
    script = config_script(Texts.model_json_schema(), name="demo", shape=shape)
    assert page.evaluate(expression.replace("DRAWN", DRAWN), script) is True


def test_an_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="shape='amd': expected one of script, function, module"):
        config_script({}, name="demo", shape=cast("ScriptShape", "amd"))


def test_the_module_exports_the_object(site: Site, page: Page) -> None:
    shown = "import page from './module.js'; globalThis.datahubPluginConfig = page;" + IMPORTS
    module = config_script(Numbers.model_json_schema(), name="demo", shape="module")
    files = {"module.js": module, "shown.js": shown, "page.js": STARTS_MODULE}
    page.goto(site.put("", **files))
    page.get_by_label("Total").wait_for()
    assert Form(page).config == {"count": 3, "ratio": 0.5}


def test_a_script_tag_under_a_strict_policy_draws_the_form(open_form: OpenForm) -> None:
    form = open_form(Texts)
    assert form.updates == 1
    background = "getComputedStyle(document.querySelector('form input')).borderTopLeftRadius"
    assert form.page.evaluate(background) == "6px"  # the style sheet is in force
    assert form.page.locator("[style], [onclick], [oninput], style").count() == 0


def test_drawing_again_starts_afresh(open_form: OpenForm) -> None:
    form = open_form(Numbers)
    form.type("Total", "7")
    form.page.evaluate(STARTS_FORM)
    assert form.page.get_by_role("form").count() == 1
    assert form.config == {"count": 3, "ratio": 0.5}


def test_an_element_that_is_not_there_is_named(page: Page, site: Site) -> None:
    page.goto(site.put(config_script({"type": "object"}, name="demo")))
    message = page.evaluate(
        "() => { try { datahubPluginConfig.init('x') } catch (error) { return error.message } }"
    )
    assert message == "there is no element with the id x"


def test_enter_sends_nothing(open_form: OpenForm) -> None:
    form = open_form(Texts)
    address = form.page.url
    form.type("Key word", "abc")
    form.page.keyboard.press("Enter")
    assert form.config["keyword"] == "abc"
    assert form.page.url == address


def test_every_change_is_told_once(open_form: OpenForm) -> None:
    form = open_form(Texts)
    form.type("Key word", "abc")
    assert form.updates == 1 + len("abc")


def test_a_page_that_validates_at_every_change_shows_no_error_too_early(
    open_form: OpenForm,
) -> None:
    form = open_form(Texts)
    form.page.evaluate(
        "datahubPluginConfig.init('form', (config) => datahubPluginConfig.validateConfig(config))"
    )
    assert form.error_of(form.field("Key word")) == ""


def hostile_schema() -> dict[str, Any]:
    class Inner(PluginConfig):
        model_config = ConfigDict(title=HOSTILE)
        text: str = Field(HOSTILE, title=HOSTILE, description=HOSTILE, examples=[HOSTILE])

    class Config(PluginConfig):
        model_config = ConfigDict(title=HOSTILE)
        text: str = Field(HOSTILE, title=HOSTILE, description=HOSTILE, pattern="[<]")
        choice: Literal["</script><b>", HOSTILE] = HOSTILE  # type: ignore[valid-type]  # a value
        inner: Inner | int = Field(title=HOSTILE, description=HOSTILE)
        listed: list[str] = Field([HOSTILE], title=HOSTILE)
        keyed: dict[str, str] = Field({HOSTILE: HOSTILE, "__proto__": "x"})
        aliased: int = Field(1, alias="__proto__")

    return Config.model_json_schema()


def test_markup_in_names_and_texts_stays_text(site: Site, page: Page) -> None:
    script = config_script(hostile_schema(), name=HOSTILE)
    assert "</script" not in script
    assert "<img" not in script
    page.goto(site.put(script))
    form = Form(page)
    assert form.page.locator("form img, form b").count() == 0
    assert form.config["text"] == HOSTILE
    assert form.config["keyed"] == {HOSTILE: HOSTILE, "__proto__": "x"}
    assert form.config["__proto__"] == 1
    assert form.page.get_by_role("form", name=HOSTILE, exact=True).count() == 1
    said = form.verdict({**form.config, HOSTILE: 1})
    assert said["message"] == f"{HOSTILE}: is not known here"
    assert form.page.evaluate("({}).polluted") is None


class Everything(Texts, Numbers, Choices, Times, Lists, Nested, Unions):
    token: SecretStr
    id: uuid.UUID | None = None
    since: dt.datetime | None = None


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 800), ("dark", 800), ("light", 320), ("dark", 320)]
)
def test_the_form_is_readable(
    open_form: OpenForm, page: Page, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    form = open_form(Everything)
    form.field("Set Spare").check()
    for name in ("Tags", "Servers", "Limits"):
        form.button(f"Add to {name}").click()
    form.verdict()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"form-{scheme}-{width}.png", full_page=True)
    low = page.evaluate(CONTRASTS)
    assert low == [], "texts of too little contrast"


# Texts whose contrast with the form's background is under 4.5 (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = light(getComputedStyle(document.querySelector("form")).backgroundColor);
  const texts = document.querySelectorAll("form :is(label, legend, p, button)");
  return [...texts].filter((element) => {
    const own = light(getComputedStyle(element).color);
    return (Math.max(own, back) + 0.05) / (Math.min(own, back) + 0.05) < 4.5 && !element.disabled;
  }).map((element) => element.outerHTML);
}"""


def test_every_control_is_named_and_described(open_form: OpenForm, page: Page) -> None:
    form = open_form(Everything)
    for name in ("Tags", "Servers", "Limits"):
        form.button(f"Add to {name}").click()
    problems = page.evaluate(
        """() => [...document.querySelectorAll("form :is(input, select, textarea, output)")]
          .filter((control) => {
            const ids = (control.getAttribute("aria-describedby") ?? "").split(" ");
            const isNamed = control.labels.length === 1 && control.labels[0].htmlFor === control.id;
            const isDescribed = ids.every((id) => document.getElementById(id));
            return !isNamed || !isDescribed;
          }).map((control) => control.outerHTML)"""
    )
    assert problems == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))


def test_the_tab_key_reaches_every_control_in_order(open_form: OpenForm, page: Page) -> None:
    form = open_form(Lists)
    form.button("Add to Tags").click()
    page.evaluate("document.activeElement.blur(); document.body.focus()")
    expected = page.evaluate(
        """[...document.querySelectorAll("form :is(input, select, textarea, button)")]
          .filter((control) => !control.disabled).length"""
    )
    seen = set()
    for _ in range(expected):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.ariaLabel"))
    assert len(seen) == expected


def test_a_default_that_json_has_no_words_for_is_left_to_the_server(open_form: OpenForm) -> None:
    class Config(PluginConfig):
        ratio: float = float("inf")

    schema = {**Config.model_json_schema()}
    schema["properties"] = {"ratio": {"title": "Ratio", "type": "number", "default": float("inf")}}
    assert open_form(schema).config == {}


@pytest.mark.parametrize("value", ["undefined", "null", "'text'", "[]", "NaN"])
def test_what_is_no_config_is_refused(open_form: OpenForm, value: str) -> None:
    form = open_form(Numbers)
    said = form.page.evaluate(f"datahubPluginConfig.validateConfig({value})")
    assert said == {"valid": False, "message": "The configuration: must be an object"}


def test_what_is_judged_is_what_would_be_sent(open_form: OpenForm) -> None:
    form = open_form(Numbers)
    judge = "datahubPluginConfig.validateConfig({ total: 1, count: undefined }).valid"
    assert form.page.evaluate(judge)
    assert not form.page.evaluate(judge.replace("undefined", "NaN"))


def test_a_config_without_fields_says_so(open_form: OpenForm) -> None:
    form = open_form(PluginConfig)
    assert form.config == {}
    assert form.page.get_by_text("There is nothing to set.").is_visible()
    assert not form.verdict({"a": 1})["valid"]


def test_without_a_schema_any_object_can_be_given(open_form: OpenForm) -> None:
    form = open_form({})
    form.button("Add to Settings").press("Enter")
    form.page.keyboard.type("depth")
    form.page.keyboard.press("Tab")
    form.page.keyboard.type("[1]")
    assert form.config == {"depth": [1]}
    assert form.verdict()["valid"]
    assert form.verdict([])["message"] == "The configuration: must be an object"


def test_a_config_that_holds_itself(open_form: OpenForm) -> None:
    form = open_form(Node)
    form.field("Label").fill("a")
    form.field("Set Next").press("Space")
    form.group("Next").get_by_label("Label").fill("b")
    assert form.config == {"label": "a", "next": {"label": "b"}}
    assert form.verdict({"label": 1, "next": {"label": 2}})["valid"]  # numbers are taken for text
    assert not form.verdict({"next": {"label": "b"}})["valid"]


def test_the_schema_is_carried_whole() -> None:
    schema = Everything.model_json_schema()
    script = config_script(schema, name="demo")
    assert json.dumps(json.dumps(schema)).replace("<", "\\u003c") in script
