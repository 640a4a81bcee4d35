"""Plugins and extensions are found in real distributions; a broken one breaks nothing else."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plugin_framework import DatahubPlugin, TaskContext
from plugin_framework.errors import PluginLoadError, PluginNotFoundError
from plugin_framework.plugin.loader import (
    PluginRef,
    find_plugin,
    installed_plugins,
    load_extensions,
    ref_of,
)

PLUGIN = "from plugin_framework import DatahubPlugin\nclass P(DatahubPlugin):\n"
GOOD = PLUGIN + "    def process(self, ctx): return {}\n"
NOTE = "import sys\nsys.modules['seen_' + __name__] = sys\n"


class Site:
    """A folder of installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, module: str, source: str, group: str = "plugins", value: str = "") -> None:
        (self.folder / f"{module}.py").write_text(NOTE + source)
        info = self.folder / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.5\n")
        point = f"{module.replace('_', '-')} = {value or module + ':P'}"
        (info / "entry_points.txt").write_text(f"[datahub.{group}]\n{point}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    return Site(tmp_path)


def test_only_the_named_plugin_is_imported(site: Site) -> None:
    site.install("dist_good", GOOD)
    site.install("dist_other", GOOD)
    ref = find_plugin("dist-good")
    assert "seen_dist_good" not in sys.modules
    assert ref.load().__name__ == "P"
    assert (ref.name, ref.version) == ("dist-good", "1.5")
    assert "seen_dist_good" in sys.modules
    assert "seen_dist_other" not in sys.modules


@pytest.mark.parametrize(
    ("module", "source", "value", "reason"),
    [
        ("dist_importing", "import no_such_module_at_all", "", "ModuleNotFoundError"),
        ("dist_syntax", "def broken(:", "", "SyntaxError"),
        ("dist_exiting", "import sys; sys.exit(3)", "", "SystemExit: 3"),
        ("dist_missing", "", "", "there is no P in it"),
        ("dist_function", "def P(): pass", "", "not a DatahubPlugin class"),
        ("dist_malformed", GOOD, "not-a module!:P", "there is no module not-a module!"),
        ("dist_bare", GOOD, "dist_bare", "dist_bare:"),
        ("dist_idle", PLUGIN + "    pass", "", "has no process"),
        ("dist_config", GOOD + "    Config = dict", "", "Config is not a PluginConfig"),
    ],
)
def test_a_broken_plugin_says_why_and_breaks_nothing_else(
    site: Site, module: str, source: str, value: str, reason: str
) -> None:
    site.install(module, source, value=value)
    site.install(f"{module}_neighbour", GOOD)
    assert find_plugin(f"{module.replace('_', '-')}-neighbour").load()
    with pytest.raises(PluginLoadError, match=reason) as caught:
        find_plugin(module.replace("_", "-")).load()
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("def on_strat(self, ctx): pass", "on_strat is not a hook; did you mean on_start"),
        ("def on_failed(self, ctx, error): pass", "did you mean on_failure"),
        ("def on_sucess(self, ctx, result): pass", "did you mean on_success"),
        ("def on_start(self, context): pass", r"on_start\(self, context\) has a parameter"),
        ("async def on_finish(self, ctx, state): pass", r"on_finish\(self, ctx, state\)"),
        ("def on_pause(ctx): pass", "on_pause lacks self, its first parameter"),
    ],
)
def test_hooks_that_would_never_work_are_refused(site: Site, method: str, reason: str) -> None:
    module = "dist_" + "".join(filter(str.isalnum, method))
    site.install(module, f"{GOOD}    {method}\nclass Heir(P): pass\n", value=f"{module}:Heir")
    with pytest.raises(PluginLoadError, match=reason) as caught:
        find_plugin(module.replace("_", "-")).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        ("isolation = 'threads'", "its isolation is 'threads'; it can be 'process' or 'thread'"),
        ("pause_mode = None", "its pause_mode is None; it can be 'checkpoint' or 'freeze'"),
        ("timeout_seconds = '10'", "its timeout_seconds is '10'; it can be a number of 0 or more"),
        ("timeout_seconds = -1", "its timeout_seconds is -1; it can be a number of 0 or more"),
        ("timeout_seconds = float('nan')", "its timeout_seconds is nan; "),
        ("resources = ['cpus']", "its resources are not a mapping such as"),
    ],
)
def test_choices_that_would_be_passed_over_are_refused(
    site: Site, attribute: str, reason: str
) -> None:
    module = "dist_" + "".join(filter(str.isalnum, attribute))
    site.install(module, f"{GOOD}    {attribute}\n")
    with pytest.raises(PluginLoadError, match=re.escape(reason)):
        find_plugin(module.replace("_", "-")).load()


def test_an_import_that_fails_says_where(site: Site) -> None:
    site.install("dist_located", "import dist_located_inner\n")
    (site.folder / "dist_located_inner.py").write_text("\n\n{}['key']\n")
    with pytest.raises(PluginLoadError, match=r"KeyError: 'key' \(.*dist_located_inner.py, line 3"):
        find_plugin("dist-located").load()


def test_a_name_that_two_packages_declare_is_refused(site: Site) -> None:
    site.install("dist_first", GOOD)
    site.install("dist_second", GOOD)
    points = site.folder / "dist_second-1.5.dist-info" / "entry_points.txt"
    points.write_text("[datahub.plugins]\ndist-first = dist_second:P\n")
    with pytest.raises(PluginLoadError, match=r"more than once \(dist_first:P, dist_second:P\)"):
        find_plugin("dist-first")


def test_methods_that_only_look_like_hooks_are_the_authors(site: Site) -> None:
    site.install("dist_own", GOOD + "    def on_message(self, topic): pass\n")
    assert find_plugin("dist-own").load()


def test_an_unknown_name_gets_the_near_ones(site: Site) -> None:
    site.install("dist_counting", GOOD)
    with pytest.raises(PluginNotFoundError, match="did you mean dist-counting"):
        find_plugin("dist-countin")
    for name in ("zzzzzzzzzzzzzz", "ZzWords", "z" * 300):  # the last is too long for a file's
        with pytest.raises(
            PluginNotFoundError,
            match=r"see datahub-plugin list; for a class in a file of yours, write module:Class$",
        ):
            find_plugin(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.such:P", "cannot be imported from no.such:P: there is no module no.such; looked in "),
        ("json:P", "cannot be imported from json:P: there is no P in it; there is no plugin class"),
        ("json:", "no class is named; there is no plugin class in it"),
        (":P", ":P cannot be imported: write it as package.module:Class"),
        (".json:P", ".json:P cannot be imported: write it as package.module:Class"),
        ("a b:P", "a b:P cannot be imported: write it as package.module:Class"),
        ("words.py:Words", "words.py:Words names a file; name its module instead, as words:Words"),
        ("../x/slow.py:", "name its module instead, as slow:Class in the folder ../x"),
        ("dist_words:", "no class is named; there is dist_words:Words, dist_words:Lines"),
        ("dist_words:Wrods", "there is no Wrods in it; did you mean dist_words:Words?"),
        ("dist_words:Zz", "there is no Zz in it; there is dist_words:Words, dist_words:Lines"),
        ("dist_wordz:Words", "there is no module dist_wordz; did you mean dist_words:Words?"),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_there_is(
    site: Site, name: str, reason: str
) -> None:
    source = GOOD.replace("class P", "class Words") + "class Lines(Words): pass\n"
    (site.folder / "dist_words.py").write_text(source)
    sys.modules.pop("dist_words", None)
    with pytest.raises(PluginLoadError) as caught:
        find_plugin(name).load()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_a_module_was_looked_for_is_said(site: Site) -> None:
    with pytest.raises(PluginLoadError, match=rf"looked in .*{site.folder}.*installed packages"):
        find_plugin("no_such_module_at_all:P").load()


def test_a_module_in_place_of_a_name_is_told_how_to_be_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.folder / "own_words.py").touch()
    monkeypatch.chdir(site.folder)
    for name in ("own_words", "own_words.py"):
        with pytest.raises(PluginNotFoundError, match="write own_words:Class"):
            find_plugin(name)


def test_a_broken_extension_is_left_out_with_a_warning(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("ext_good", "class P: pass", "extensions")
    site.install("ext_exiting", "raise SystemExit('no')", "extensions")
    site.install("ext_failing", "class P:\n    def __init__(self): 1 / 0\n", "extensions")
    caplog.set_level(logging.WARNING)
    loaded = load_extensions()
    assert "ext-good" in loaded
    assert not {"ext-exiting", "ext-failing"} & set(loaded)
    exiting = "extension ext-exiting cannot be loaded: SystemExit: no ("
    assert any(text.startswith(exiting) for text in caplog.messages)
    assert any("ext-failing" in text and "ZeroDivisionError" in text for text in caplog.messages)


class Here(DatahubPlugin):
    name = "here"
    version = "2"

    def process(self, ctx: TaskContext[object]) -> None: ...


class NeedsArguments(Here):
    def __init__(self, model: str, size: int = 1) -> None:
        self.model, self.size = model, size


class NeedsNone(Here):
    def __init__(self, size: int = 1) -> None:
        self.size = size


def test_what_is_no_plugin_class_is_refused_in_a_line() -> None:
    for given, told in {
        Here(): "plugin Here: give the class Here, and not an object of it",
        dict: "a plugin is a DatahubPlugin class, and not the class dict",
        7: "a plugin is a DatahubPlugin class, and not an object of int",
    }.items():
        with pytest.raises(PluginLoadError, match=f"^{told}$"):
            ref_of(given)  # type: ignore[arg-type]  # what is tested


def test_a_plugin_is_made_without_arguments() -> None:
    with pytest.raises(PluginLoadError, match="NeedsArguments: its __init__ takes no parameters"):
        ref_of(NeedsArguments)
    with pytest.raises(PluginLoadError, match="__init__ takes no parameters"):
        find_plugin(f"{__name__}:NeedsArguments").load()
    assert ref_of(NeedsNone).load() is NeedsNone


def test_a_class_at_hand_is_found_by_its_module() -> None:
    ref = ref_of(Here)
    assert (ref.name, ref.version, ref.attribute) == ("here", "2", "Here")
    assert ref.load() is Here


def test_an_installed_class_keeps_its_installed_name(site: Site) -> None:
    site.install("dist_named", GOOD)
    assert ref_of(find_plugin("dist-named").load()) == installed_plugins()["dist-named"]


def test_a_local_class_says_what_to_do() -> None:
    class Local(DatahubPlugin):
        def process(self, ctx: TaskContext[object]) -> None: ...

    with pytest.raises(PluginLoadError, match="move it to module level"):
        ref_of(Local).load()


def test_a_module_not_importable_by_name_is_loaded_from_its_file(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "job.py").write_text(f"{GOOD}    version = {folder!r}\n")
    loaded = [
        PluginRef("P", "", "__main__", "P", str(tmp_path / folder / "job.py")).load().version
        for folder in ("a", "b")
    ]
    assert loaded == ["a", "b"]


def test_a_file_that_fails_once_says_the_same_again(tmp_path: Path) -> None:
    file = tmp_path / "failing.py"
    file.write_text("import no_such_module_at_all")
    for _ in range(2):
        with pytest.raises(PluginLoadError, match="no_such_module_at_all"):
            PluginRef("P", "", "__main__", "P", str(file)).load()


SHOW = """
import dataclasses, json
from plugin_framework.plugin.loader import ref_of
if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(ref_of(P))))
"""


@pytest.mark.parametrize(
    ("arguments", "module"), [(["script_of_one.py"], "__main__"), (["-m", "pack.one"], "pack.one")]
)
def test_a_script_is_found_again(
    site: Site, tmp_path: Path, arguments: list[str], module: str
) -> None:
    (tmp_path / "pack").mkdir()
    for file in (tmp_path / "script_of_one.py", tmp_path / "pack" / "one.py"):
        file.write_text(GOOD + SHOW)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    ref = PluginRef(**json.loads(done.stdout))
    assert ref.module == module
    assert ref.load().__name__ == "P"
