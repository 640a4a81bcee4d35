"""A plugin that is not of this framework writes its config.js in its own way, and wrongly too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from plugin_framework.emulator import Emulator
from tests.emulator.calling import send
from tests.emulator.platform.services import KEY, SECRET, Reply, ScriptedService

pytestmark = pytest.mark.long

RAN = "globalThis.ran = (globalThis.ran ?? 0) + 1"
FORM = f"""{{
  // http://example.org; a comment within
  init(id, update) {{
    {RAN};
    document.getElementById(id).textContent = "Drawn";
    update({{ word: "from the form" }});
  }},
  validateConfig() {{ return {{ valid: true, message: "" }}; }},
}}"""

VALID = "export function validateConfig() { return { valid: true }; }"

Opening = Callable[[str], None]


@pytest.fixture(scope="module")
def plugin() -> Iterator[ScriptedService]:
    with ScriptedService() as running:
        yield running


@pytest.fixture(scope="module")
def address(plugin: ScriptedService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of an emulator that has the plugin, and no other."""
    folder = tmp_path_factory.mktemp("foreign")
    with Emulator(state_dir=folder, key=KEY, secret=SECRET) as running:
        guard = [("X-Datahub-Local", "1"), ("Content-Type", "application/json")]
        body = json.dumps({"url": plugin.url}).encode()
        answer = send("POST", f"{running.url}/local/services", body, guard)
        assert answer.status < 300, answer.body
        yield f"{running.url}/"


@pytest.fixture
def opened(page: Page, plugin: ScriptedService, address: str) -> Opening:
    """Opens the view of a new task, where the plugin has this config.js."""

    def open_with(script: str) -> None:
        plugin.script = Reply(body=script.encode())
        page.goto(f"{address}#/new")

    return open_with


def form_with(*, init: str = "", verdict: str = "return { valid: true };") -> str:
    return f"({{ init() {{ {init} }}, validateConfig() {{ {verdict} }} }})"


def problem(page: Page) -> Locator:
    return page.locator(".new > .problem")


def create(page: Page) -> None:
    expect(page.get_by_role("radio")).to_be_checked()
    page.get_by_role("button", name="Create task").click()


@pytest.mark.parametrize(
    "script",
    [
        f"({FORM});",
        f"// Of a plugin; really\n({FORM}) ; // the end;\n/* of * the\n file; */\n",
        f"{FORM}\n",
        f"(function () {{ {RAN}; return {FORM}; }})();",
        f"(() => {{ {RAN}; return {FORM}; }})()",
        f"(async () => {{ {RAN}; return {FORM}; }})();",
        f"() => ({FORM});",
        f"async () => {{ {RAN}; return {FORM}; }}",
        f"function () {{ {RAN}; return {FORM}; }}",
        f"function form() {{ {RAN}; return {FORM}; }};\n",
        f"{RAN};\nconst form = {FORM};\nreturn form;",
        f"function form() {{ return {FORM}; }}\n{RAN};\nreturn form();",
        f'"use strict";\n{RAN};\nglobalThis.datahubPluginConfig = {FORM};',
        f"(function (root) {{ {RAN}; root.datahubPluginConfig = {FORM}; }})(this);",
        f"{RAN};\nexport default {FORM};",
        f"{RAN};\nexport default () => ({FORM});",
        f"{RAN};\nconst form = {FORM};\nexport const {{ init, validateConfig }} = form;",
        f"{RAN};\nexport function init(...given) {{ ({FORM}).init(...given); }}\n{VALID}",
    ],
)
def test_each_natural_shape_of_a_script_is_understood_and_runs_once(
    page: Page, opened: Opening, script: str
) -> None:
    opened(script)
    expect(page.locator("#plugin-form")).to_have_text("Drawn")
    times = 1 + script.replace(FORM, "").count(RAN)
    assert page.evaluate("globalThis.ran") == times
    create(page)
    page.wait_for_url("**/#/tasks/*")
    expect(page.get_by_text("from the form")).to_be_visible()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (f"{RAN}; throw new Error('boom')", "boom"),
        (f"{RAN}; throw 'boom'", "boom"),
        (f"{RAN}; JSON.parse('<')", "is not valid JSON"),
        (f"(() => {{ {RAN}; JSON.parse('<'); }})()", "is not valid JSON"),
        (f"{RAN};\nexport default 1;", "gives no object with init and validateConfig"),
        (f"{RAN}; const form = 1;", "gives no object with init and validateConfig"),
    ],
)
def test_a_script_that_gives_no_form_says_why_and_runs_once(
    page: Page, opened: Opening, script: str, why: str
) -> None:
    opened(script)
    expect(page.locator("#config-json-note")).to_contain_text(why)
    assert page.evaluate("globalThis.ran") == 1


def test_a_script_that_cannot_be_parsed_says_how_it_was_read(page: Page, opened: Opening) -> None:
    opened("return { init() {")
    note = page.locator("#config-json-note")
    expect(note).to_contain_text(
        re.compile("as an expression: .*; as a function\u2019s body: .*; as a module: ")
    )


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("throw new Error('boom');", "The plugin\u2019s validateConfig failed: boom"),
        ("throw 'boom';", "The plugin\u2019s validateConfig failed: boom"),
        ("", "The plugin\u2019s validateConfig returned no object with valid and message."),
        (
            "return {};",
            "The plugin\u2019s validateConfig returned no object with valid and message.",
        ),
        ("return { valid: false, message: 'Too short' };", "Too short"),
    ],
)
def test_what_validate_config_does_wrong_is_told(
    page: Page, opened: Opening, verdict: str, said: str
) -> None:
    opened(form_with(verdict=verdict))
    create(page)
    expect(problem(page)).to_have_text(said)
    assert page.url.endswith("#/new")


def test_a_config_that_json_cannot_hold_is_told(page: Page, opened: Opening) -> None:
    opened(form_with(init="const own = {}; arguments[1](own); own.self = own;"))
    create(page)
    expect(problem(page)).to_contain_text("It cannot be sent: ")


def test_an_init_that_is_rejected_says_why(page: Page, opened: Opening) -> None:
    opened(form_with(init="return Promise.reject(new Error('no schema'));"))
    expect(page.locator("#config-json-note")).to_contain_text("no schema")
    page.get_by_label("Configuration (a JSON object)").fill('{"word": "by hand"}')
    create(page)
    page.wait_for_url("**/#/tasks/*")


def test_an_init_that_never_ends_is_told(page: Page, opened: Opening) -> None:
    opened(form_with(init="return new Promise(() => {});"))
    create(page)
    expect(problem(page)).to_have_text("The plugin\u2019s form is not there yet.")


@pytest.mark.parametrize(
    "script",
    [
        "document.body.replaceChildren(); throw new Error('boom');",
        "document.getElementById('main').replaceChildren();",
        "document.open(); document.write('<p>Mine</p>'); document.close();",
        "document.documentElement.remove();",
        form_with(init="document.body.replaceChildren();"),
    ],
)
def test_a_script_that_replaces_the_page_is_named(page: Page, opened: Opening, script: str) -> None:
    opened(script)
    note = page.get_by_role("alert")
    expect(note).to_contain_text("The config.js of scripted has replaced this page.")
    note.get_by_role("link", name="Back to the tasks").click()
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
