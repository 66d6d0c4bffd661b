"""The reference: what the documents and the schema say is what the program does."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from multi.errors import ConfigError
from multi.model.node import Ready
from multi.settings import config, presets
from multi.settings import toml as document
from multi.settings.config import Config
from multi.settings.envfile import parse_env_file
from multi.settings.table import SETTINGS
from multi.settings.values import from_document

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "config" / "multi.toml"
UNSET = re.compile(r"^# (?=[a-z_]+ = )", re.MULTILINE)


def read(text: str) -> Config:
    """Read a text as the reference would be."""

    def find(pattern: str) -> Iterable[str]:
        assert pattern.endswith("/conf.d/*.toml")
        return ()

    return config.parse_config(text, str(REFERENCE), {}, lambda path: Path(path).read_bytes(), find)


def test_what_is_made_from_the_settings_is_up_to_date() -> None:
    """Schema and tables are those that ``scripts/schema`` would write now."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "schema", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_schema_script_refuses_what_it_does_not_know() -> None:
    """A wrong word prints how it is used."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "schema", "--chekc"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "scripts/schema --check" in done.stderr


def test_the_reference_is_a_configuration() -> None:
    """Its groups and nodes are those that its comments promise."""
    found = read(REFERENCE.read_text())
    assert [(group.name, group.nodes) for group in found.groups] == [
        ("web", ("web-fast", "web-slow")),
        ("batch", ("batch1", "batch2", "batch3")),
    ]
    assert [name for name, _ in found.nodes] == ["web-slow", "beat", "metrics"]
    assert found.defaults.values["umask"] == 0o027
    assert found.defaults.values["workdir"] == "/srv/proj"


def test_the_reference_shows_every_setting() -> None:
    """Set or as a comment; every comment that shows a setting is valid where it stands."""
    text = UNSET.sub("", REFERENCE.read_text())
    found = read(text)
    assert set(found.defaults.values) == {*SETTINGS, "options"}
    assert found.groups[1].nodes == ("b-1", "b-2", "b-3")


def test_the_page_has_every_key_of_a_preset() -> None:
    """docs/reference/presets.md has a row for each key that a preset file may have."""
    page = (ROOT / "docs" / "reference" / "presets.md").read_text()
    rows = re.findall(r"^\| `\[?(\w+)\]?` \|", page[page.index("## Keys of a preset file") :], re.MULTILINE)
    assert set(rows) == set(presets._KEYS)  # noqa: SLF001 -- all there are


def test_the_readme_of_presets_can_be_copied(tmp_path: Path) -> None:
    """Each preset that docs/howto/write-a-preset.md shows is one."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "howto" / "write-a-preset.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "resizer.toml").write_text(blocks[0])
    (tmp_path / "celery.toml").write_text(blocks[1])
    resizer = presets.load("resizer", [str(tmp_path)])
    assert resizer.defaults["ready"] == Ready("log", "waiting for images")
    assert {"-c", "--config"} == resizer.leading
    celery = presets.load("celery", [str(tmp_path)])
    assert "--tenant" in celery.valued
    assert str(celery.defaults["stop_schedule"]) == "TERM/600/QUIT/30/KILL/5"


def test_the_env_file_of_the_reference_can_be_copied() -> None:
    """The example in docs/reference/environment.md means what the text around it says."""
    page = (ROOT / "docs" / "reference" / "environment.md").read_text()
    example = page[page.index("    # a comment") : page.index("Both kinds of quotes")]
    assert dict(parse_env_file(example, "x.env")) == {
        "DEBUG": "1",
        "NAME": "two words",
        "RAW": "kept $exactly \\n as it is",
        "TEXT": 'a tab \t, a quote ", a line \n',
    }


def test_the_message_of_the_reference_is_the_real_one() -> None:
    """The error that docs/reference/configuration.md shows is what the program prints."""
    shown = "multi.toml:7: defaults.umsk: 'umsk' is not a setting; did you mean 'umask'?"
    assert f"    {shown}\n" in (ROOT / "docs" / "reference" / "configuration.md").read_text()
    with pytest.raises(ConfigError) as caught:
        config.parse_config("\n" * 5 + "[defaults]\numsk = '022'", "multi.toml", {}, lambda _: b"")
    assert str(caught.value) == shown


@pytest.fixture(scope="module")
def problems() -> Callable[[str], list[str]]:
    """What the schema has to say about a text; skips where no validator is installed."""
    if importlib.util.find_spec("jsonschema") is None:
        pytest.skip("jsonschema is not installed in this Python")
    made = json.loads((ROOT / "config" / "multi.schema.json").read_text())
    validator = importlib.import_module("jsonschema").Draft7Validator(made)
    validator.check_schema(made)

    def of(text: str) -> list[str]:
        return [str(error.message) for error in validator.iter_errors(document.read(text, "multi.toml").values)]

    return of


def test_the_schema_accepts_the_reference_and_every_example(problems: Callable[[str], list[str]]) -> None:
    """Nothing that is valid is underlined in an editor."""
    assert problems(REFERENCE.read_text()) == []
    assert problems(UNSET.sub("", REFERENCE.read_text())) == []
    for setting in SETTINGS.values():
        assert problems(f"[defaults]\n{setting.name} = {setting.example}") == [], setting.name
    filled = [name for name, setting in SETTINGS.items() if setting.kind not in {"env", "hooks", "limits"}]
    for name in filled:
        assert problems(f"[defaults]\n{name} = '${{X:-1}}'") == [], name


@pytest.mark.parametrize(
    "text",
    [
        "[defalts]",
        "[defaults]\numsk = 1",
        "[defaults]\numask = '99'",
        "[defaults]\nnice = 20",
        "[defaults]\nnice = '-21'",
        "[defaults]\nready = 'yes'",
        "[defaults]\nready_timeout = -1",
        "[defaults]\nkill_mode = 'all'",
        "[defaults]\nenv = { A = 1 }",
        "[defaults]\nrlimit = { CORE = -1 }",
        "[defaults]\ncmd = 3",
        "[defaults]\ncount = 3",
        "[groups.a]\ncount = 1\nnodes = ['x']",
        "[groups.a]\nnodes = ['x']\nprefix = 'y'",
        "[nodes.'a/b']",
        "include = 'x'",
    ],
)
def test_the_schema_refuses_what_the_program_refuses(problems: Callable[[str], list[str]], text: str) -> None:
    """The frequent mistakes are seen while typing."""
    with pytest.raises(ConfigError):
        config.parse_config(text, "multi.toml", {}, lambda _: b"")
    assert problems(text)


@pytest.mark.parametrize("number", range(-25, 25))
def test_the_schema_and_the_program_agree_on_niceness_as_text(
    problems: Callable[[str], list[str]], number: int
) -> None:
    """A pattern for a range is easily wrong."""
    text = f"[defaults]\nnice = '{number}'"
    doc = document.read(text, "multi.toml")
    valid = True
    try:
        from_document(SETTINGS["nice"], str(number), doc, ("defaults", "nice"))
    except ConfigError:
        valid = False
    assert (problems(text) == []) == valid
