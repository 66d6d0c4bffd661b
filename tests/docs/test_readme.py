"""What the documentation shows is what happens: its sessions are run, and each line of output is compared."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from real import Real

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 240.0  # seconds for a whole session on a busy machine
_BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n(?:It prints.*\n\n)?```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
_MARK = "=== next block ==="
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
ALL = sorted(  # every page of Markdown that there is
    {
        str(path.relative_to(ROOT))
        for path in (
            *ROOT.glob("*.md"),
            *(path for part in ("docs", "examples", "tests") for path in (ROOT / part).rglob("*.md")),
        )
    }
)
HOSTS = {"docs.pytest.org", "docs.python.org", "keda.sh", "semver.org"}  # whose pages ours link to


def sessions(page: str) -> list[list[tuple[str, list[str]]]]:
    """The sessions of a page: for each, its blocks of commands with the block of output that follows.

    A block of commands that begins with ``cd`` begins a session.
    """
    found: list[list[tuple[str, list[str]]]] = []
    for commands, output in _BLOCK.findall((ROOT / page).read_text()):
        if commands.startswith("cd "):
            found.append([])
        found[-1].append((commands, output.splitlines()))
    return found


def plain(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run: numbers, the host's name, ids, paths, the order of nodes."""
    out: list[str] = []
    for line in lines:
        text = re.sub(r"@[\w.-]+", "@HOST", line)
        text = re.sub(r"\S*/examples/\w+/", "/", text)
        text = re.sub(r"(?<=tasks\.)(\w+) +[0-9a-f]{4,8}\b", r"\1 ID", text)
        text = re.sub(r"(?<![\w/])\d+(\.\d+)?(?=[smhMG%)]?(\W|$))", "N", text)
        text = re.sub(r"(?<=last line of its log: ).*", "...", text)
        text = re.sub(
            r": it was killed by signal N \(KILL\)", "", text
        )  # known as long as its zombie waits for its parent
        out.append(" ".join(text.split()))
    return sorted(out)


@pytest.mark.engine
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(steps, id=f"{page} {number}")
        for page in PAGES
        for number, steps in enumerate(sessions(page), start=1)
    ],
)
def test_sessions_of_the_pages(steps: list[tuple[str, list[str]]], tmp_path: Path) -> None:
    """G4, G5: pasted into a checkout, a session prints what the page shows under each block."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("data", "run", "log"))
    script = "".join(f"{commands}\necho {_MARK!r}\n" for commands, _ in steps)
    bin_directory = str(Path(sys.executable).parent)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MULTI_", "CELERY", "XDG_"))
    }
    environment |= {"PATH": f"{bin_directory}:{environment['PATH']}", "HOME": str(tmp_path), "C_FORCE_ROOT": "1"}
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    finally:
        subprocess.run(
            ["bash", "-c", "cd examples/celery_app; multi kill --pidfile=run/%n.pid; cd ../project; multi kill"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
    printed = done.stdout.split(_MARK + "\n")
    for (commands, shown), output in zip(steps, printed, strict=False):
        assert plain(output.splitlines()) == plain(shown), commands


STARTS = [
    (page, found)
    for page in ALL
    for found in re.findall(r"^(?:    )?multi start (.*)$", (ROOT / page).read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("page", "words"), STARTS)
def test_a_start_that_a_page_shows_is_understood(page: str, words: str, real: Real) -> None:
    """Each `multi start` of a page makes the nodes that it names, and nobody has to warn of a word in it."""
    told = shlex.split(words)
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), told))
    count = int(names[0]) if names[0].isdigit() else len(names)
    done = real.raw("show", *told).ok()
    assert (done.err, len(done.out.splitlines())) == ("", count), page


@cache
def helps() -> dict[str, str]:
    """The help of each command, with what is for all of them."""
    from multi.cli.commands import COMMANDS
    from multi.cli.help import page as page_of
    from multi.cli.help import topic

    more = topic("settings") + topic("options")
    return {name: page_of(command) + more for command in COMMANDS for name in (command.name, *command.aliases)}


@pytest.mark.parametrize("page", ALL)
def test_a_command_that_a_page_shows_is_one(page: str) -> None:
    """Each line with `multi` names a command, and each flag of one that takes no worker words is in its help."""
    for line in re.findall(r"^ *multi ((?!-).*)$", "\n".join(indented(page)), re.MULTILINE):
        words = list(itertools.takewhile(lambda word: word not in {"||", "--"}, shlex.split(line, comments=True)))
        text = helps()[words[0]]
        flags = {word.partition("=")[0].partition(":")[0] for word in words[1:] if word.startswith("--")}
        assert "WORKER WORDS" in text or not {flag for flag in flags if flag not in text}, line


def indented(page: str) -> list[str]:
    """The lines of the page's indented blocks and of its blocks of commands."""
    text = (ROOT / page).read_text()
    pasted = "".join(commands for commands, _ in _BLOCK.findall(text))
    return [
        *re.findall(r"^    .*$", re.sub(r"^```.*\n(?:.*\n)*?```$", "", text, flags=re.MULTILINE), re.MULTILINE),
        *pasted.splitlines(),
    ]


@pytest.mark.parametrize("page", ALL)
def test_a_block_that_is_pasted_holds_commands_alone(page: str) -> None:
    """No block shows prompts, and each block says what it is: commands, output, TOML, Python."""
    text = (ROOT / page).read_text()
    assert set(re.findall(r"^```(.*)\n(?:.*\n)*?```$", text, re.MULTILINE)) <= {
        "sh",
        "text",
        "toml",
        "python",
        "mermaid",
        "yaml",
    }
    assert not re.search(r"^(?:    )?\$ ", text, re.MULTILINE)


@pytest.mark.parametrize("page", ALL)
def test_pages_lead_somewhere(page: str) -> None:
    """Every file and heading that a page links to is there, and so is every file and test that it names."""
    text = (ROOT / page).read_text()
    assert {urlsplit(url).netloc for url in re.findall(r"\]\((https://[^)]*)\)", text)} <= HOSTS
    assert "](http:" not in text
    assert not re.search(r"^ *\[[^]]+\]:", text, re.MULTILINE), "a link stands where it is used"
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, heading
    for pattern in re.findall(r"(?<=[ (])((?:config|scripts)/\S*?)(?=[ )])", text):
        assert list(ROOT.glob(pattern)), pattern
    for name in re.findall(r"`((?:multi|config|examples)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
    for name, test in re.findall(r"\b(tests/[\w/.-]+\.py)(?:::(\w+))?", text):
        assert (ROOT / name).exists(), name
        assert not test or re.search(rf"^def {test}\(", (ROOT / name).read_text(), re.MULTILINE), f"{name}::{test}"


def test_every_command_is_in_the_tables() -> None:
    """Each table of commands has a row for each command that `multi help` knows."""
    from multi.cli.commands import COMMANDS

    for page in ("README.md", "docs/reference/commands.md"):
        text = (ROOT / page).read_text()
        for info in COMMANDS:
            assert re.search(rf"`{info.name}\b", text), f"{page} does not show '{info.name}'"
    headings = re.findall(r"^#+ (?:multi )?(\w+).*$", (ROOT / "docs/reference/commands.md").read_text(), re.MULTILINE)
    assert not set(headings) & {info.name for info in COMMANDS}, "what is of one command belongs into manual.toml"


def test_every_page_is_found_from_the_readme() -> None:
    """A reader who follows links comes to each page of docs, examples and tests."""
    found, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        found.add(page)
        targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()) if page.suffix == ".md" else []
        paths = [(page.parent / target).resolve() for target in targets]
        files = [path / "README.md" if (path / "README.md").exists() else path for path in paths if path.exists()]
        left += [path for path in files if path not in found]
    assert {ROOT / page for page in ALL} - found == set()
    (copied,) = re.findall(r"^for path in (.*); do$", (ROOT / "scripts/site").read_text(), re.MULTILINE)
    parts = {ROOT / name for name in copied.split()}
    assert {path for path in found if not parts & {path, *path.parents}} == set(), "scripts/site leaves it out"


def test_pages_that_files_name_are_there() -> None:
    """Help, comments and files to copy send a reader to pages that exist."""
    files = [path for part in ("multi", "scripts", "config") for path in (ROOT / part).rglob("*") if path.is_file()]
    named = {
        name
        for path in [*files, ROOT / "pyproject.toml"]
        if "__pycache__" not in path.parts
        for name in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_design_names_each_part_once() -> None:
    """The table of folders has one row for each folder and module of `multi`."""
    page = (ROOT / "docs/explanation/design.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page[page.index("## Folders") : page.index("## Inversions")], re.MULTILINE)
    named = [name.strip("/") for row in rows for name in re.findall(r"`([\w./]+)`", row)]
    parts = (path.name for path in (ROOT / "multi").iterdir() if not path.name.startswith("__"))
    assert sorted(named) == sorted(set(parts) - {"py.typed"})
