"""A Procfile becomes the configuration that it stands for."""

from __future__ import annotations

import pytest

from multi.errors import ConfigError
from multi.settings.procfile import Named, named, read, word_of

FILES = {
    "/srv/app/Procfile": "# all\nweb: python app.py --port $PORT\n\nworker: cd sub && python worker.py 50%\nnonsense\n"
}


def made(text: str | None = None, formation: str = "", env: str | None = None, **environ: str) -> dict[str, object]:
    """The nodes of a Procfile: each with its command and its port."""
    files = {"/srv/app/Procfile": text} if text is not None else dict(FILES)
    if env is not None:
        files["/srv/app/.env"] = env

    def load(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[path].encode()

    path, config = read(Named("Procfile", formation), "/srv/app", environ, load, "/run/multi")
    assert path == config.path == "/srv/app/Procfile"
    assert config.defaults.values["workdir"] == "/srv/app"
    assert config.defaults.values["env_file"] == (("/srv/app/.env",) if env is not None else ())
    groups = {group.name: group.nodes for group in config.groups}
    nodes: dict[str, object] = {name: (layer.values["cmd"], layer.values["env"]) for name, layer in config.nodes}
    return {"groups": groups, **nodes} if groups else nodes


def command(line: str) -> str:
    """What the shell is told of a line."""
    words = made(f"a: {line}\n")["a"]
    assert isinstance(words, tuple)
    assert words[0][:2] == ("/bin/sh", "-c")
    return str(words[0][2])


def test_a_line_is_a_node_and_its_port_a_hundred_more() -> None:
    """Other lines are passed over, as foreman and honcho do."""
    nodes = made()
    assert list(nodes) == ["web", "worker"]
    assert nodes["web"] == (("/bin/sh", "-c", "exec python app.py --port $PORT"), (("PORT", "5000"),))
    assert nodes["worker"][1] == (("PORT", "5100"),)  # type: ignore[index]


def test_who_says_the_first_port() -> None:
    """`.env` comes before the caller's environment, and both before 5000."""
    assert made(PORT="8000")["web"][1] == (("PORT", "8000"),)  # type: ignore[index]
    assert made(PORT="8000", env="PORT=9000\n")["worker"][1] == (("PORT", "9100"),)  # type: ignore[index]


def test_counts() -> None:
    """Each node of a line has a number and a port of its own; `all` is for the lines that nothing else is said of."""
    nodes = made(formation="worker=2,all=1")
    assert nodes["groups"] == {"web": ("web",), "worker": ("worker.1", "worker.2")}
    assert [nodes[f"worker.{number}"][1] for number in (1, 2)] == [(("PORT", "5100"),), (("PORT", "5101"),)]  # type: ignore[index]
    assert list(made(formation="web=0")) == ["worker"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sleep 5", "exec sleep 5"),
        ("python -c 'a; b' > /dev/null", "exec python -c 'a; b' > /dev/null"),
        ("A=1 B='x y' sleep 5", "exec env A=1 B='x y' sleep 5"),
        ("exec sleep 5", "exec sleep 5"),
        ("date +%s", "exec date +%%s"),
    ],
)
def test_a_plain_command_takes_the_place_of_the_shell(line: str, told: str) -> None:
    """So signals reach it."""
    assert command(line) == told


@pytest.mark.parametrize(
    "line", ["cd x && y", "a | b", "a; b", "while :; do a; done", "a $(b)", "a `b`", "a 'b", "(a)"]
)
def test_of_any_other_the_shell_stays_and_hands_signals_on(line: str) -> None:
    """It is run as it is, in a shell of its own."""
    told = command(line)
    assert f"( {line}\n)" in told
    assert told.startswith("for s in TERM INT QUIT HUP; do trap")


@pytest.mark.parametrize(
    ("text", "formation", "word"),
    [
        ("nothing\n", "", "/srv/app/Procfile"),
        ("a: b\na: c\n", "", "/srv/app/Procfile:2"),
        ("a: b\n", "c=2", "--formation=c=2"),
        ("a: b\n", "a", "--formation=a"),
        ("a: b\n", "a=-1", "--formation=a=-1"),
    ],
)
def test_mistakes(text: str, formation: str, word: str) -> None:
    """Each is one error that says where."""
    with pytest.raises(ConfigError) as raised:
        made(text, formation)
    assert raised.value.word == word


def test_a_port_that_is_none() -> None:
    """It is an error before anything is started."""
    with pytest.raises(ConfigError, match="PORT=x"):
        made(PORT="x")


def test_the_word_that_names_one() -> None:
    """It is read back as it was written; any other word names a configuration."""
    assert named(word_of("a:b/Procfile", "")) == Named("a:b/Procfile")
    assert named(word_of("P", "web=2")) == Named("P", "web=2")
    assert named("procfile.toml") is None
    assert named(None) is None
