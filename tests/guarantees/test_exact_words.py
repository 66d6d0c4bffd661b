"""G11, Exact words: what was typed is what the worker gets, byte by byte, and `show` prints what a shell can run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from awkward import TAME, WORDS, exact
from real import Real, as_argv, environ_of, run, until, words_of


def said(path: Path) -> list[bytes]:
    """The words that the worker was executed with, as it wrote them down itself."""
    until(path.exists, "the worker has written its words")
    return as_argv(path.read_bytes())


def test_g11_after_the_dashes(real: Real) -> None:
    """G11: everything after ``--`` reaches the worker exactly as typed, templates included."""
    out = real.base / "words"
    real.start("a", "--", *WORDS, cmd=real.worker("--words", str(out), "--")).ok()
    assert said(out) == exact(WORDS)


def test_g11_from_its_record(real: Real) -> None:
    """G11: a restart without words starts the recorded ones, exactly."""
    out = real.base / "words"
    real.start("a", "--", *WORDS, cmd=real.worker("--words", str(out), "--")).ok()
    said(out)
    out.unlink()
    real.multi("restart", "a").ok()
    assert said(out) == exact(WORDS)
    assert [os.fsencode(word) for word in real.record("a")["command"][-len(WORDS) :]] == exact(WORDS)  # type: ignore[index]


def test_g11_in_the_command(real: Real) -> None:
    """G11: ``--cmd`` and ``--append`` are shell-quoted words; each comes apart as a shell would have it."""
    out = real.base / "words"
    append = shlex.join(TAME[:10])
    real.start("a", f"--append={append}", cmd=real.worker("--words", str(out), "--", *TAME)).ok()
    assert said(out) == exact([*TAME, *TAME[:10]])


def test_g11_options_of_the_worker(real: Real) -> None:
    """G11: options that are not ours go to the worker as they were typed, joined or apart, in their order."""
    out = real.base / "words"
    typed = ['--first=it\'s "quoted"', "--second", "--third=", "--fourth=new\nline", "-x", "--fifth=a=b=c"]
    real.start("a", *typed, cmd=real.worker("--words", str(out), "--")).ok()
    assert said(out) == exact(typed)


def test_g11_from_a_config_file(real: Real) -> None:
    """G11: an array in multi.toml is words already; nothing splits them again. A dollar is written twice there."""
    out = real.base / "words"
    words = [word for word in TAME if word.isprintable() or word in {"", "\n", "new\nline"}]
    worker = [*shlex.split(real.worker("--words", str(out), "--")), *words]
    config = real.base / "multi.toml"
    config.write_text(
        f'[defaults]\npreset = "exec"\nstartsecs = 0\npidfile = "{real.run}/%n.pid"\nlogfile = "{real.log}/%n.log"\n'
        f"cmd = {json.dumps(worker, ensure_ascii=False).replace('$', '$$')}\n[nodes.a]\n",
        encoding="utf-8",
    )
    real.raw("start", f"--multi-config={config}").ok()
    assert said(out) == exact(words)


def test_g11_environment(real: Real) -> None:
    """G11: values of the environment are exact, too."""
    values = {f"MY_{number}": word for number, word in enumerate(TAME) if len(word) < 100}
    given = [f"--env={name}={value}" for name, value in values.items()]
    real.start("a", *given, cmd="sleep 600").ok()
    pid = real.pid("a")
    until(lambda: words_of(pid)[:1] == ["sleep"], "it runs")
    env = environ_of(pid)
    assert {name: os.fsencode(env[name]) for name in values} == {
        name: os.fsencode(value) for name, value in values.items()
    }


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox"])
def test_g11_show_is_what_a_shell_runs(real: Real, shell: str) -> None:
    """G11: what `show` prints, run by a shell as it is, gives the worker the same words."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs the shell {shell}")
    out = real.base / "words"
    told = (*real.start_words("a", cmd=real.worker("--words", str(out), "--exit", "0", "--"))[1:], "--", *WORDS)
    printed = real.raw("show", *told).ok().out
    script = real.base / "script"
    script.write_bytes(os.fsencode(printed))
    done = run([shell, *(["sh"] if shell == "busybox" else []), str(script)], real.env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert said(out) == exact(WORDS)


def test_g11_show_as_json(real: Real) -> None:
    """G11: as JSON the words are an array, not a string to take apart."""
    told = (*real.start_words("a", cmd="sleep 600")[1:], "--", *WORDS)
    (node,) = json.loads(real.raw("show", "--json", *told).ok().out)
    assert exact(node["command"]) == exact(["sleep", "600", *WORDS])


def test_g11_status_shows_the_same(real: Real) -> None:
    """G11: the command that `status` reports is the recorded one, word by word."""
    real.start("a", "--", *WORDS, cmd=real.worker("--")).ok()
    (view,) = json.loads(real.multi("status", "--json", "a").ok().out)
    assert exact(view["command"])[-len(WORDS) :] == exact(WORDS)
    assert view["state"] == "running"


def test_g11_paths(real: Real) -> None:
    """G11: directories and files may be called what they like."""
    odd = real.base / 'it\'s a "directory" $HOME \u00e9'
    odd.mkdir()
    out = odd / "words and more"
    started = real.raw(
        "start",
        "a",
        "--preset=exec",
        "--startsecs=0",
        f"--pidfile={odd}/run dir/%n.pid",
        f"--logfile={odd}/log dir/%n.log",
        f"--workdir={odd}",
        f"--cmd={real.worker('--words', str(out), '--print', 'hello')}",
    ).ok()
    assert started.err == ""
    assert said(out) == []
    assert (odd / "log dir" / "a.log").read_bytes() == b"hello\n"
    pid = int((odd / "run dir" / "a.pid").read_text(encoding="ascii"))
    assert str(Path(f"/proc/{pid}/cwd").readlink()) == str(odd)
    real.raw("stopwait", "a", f"--pidfile={odd}/run dir/%n.pid").ok()


def test_g11_a_program_with_blanks_in_its_name(real: Real) -> None:
    """G11: so may the program itself."""
    program = real.base / "my program's name"
    program.symlink_to(sys.executable)
    out = real.base / "words"
    words = shlex.split(real.worker("--words", str(out)))
    real.start("a", "--", "x y", cmd=shlex.join([str(program), *words[1:], "--"])).ok()
    assert said(out) == [b"x y"]


def test_g11_the_worker_gets_no_word_more(real: Real) -> None:
    """G11: a node without words runs its command and nothing else."""
    real.start("a", cmd="sleep 600").ok()
    pid = real.pid("a")
    until(lambda: words_of(pid)[:1] == ["sleep"], "it runs")
    assert words_of(pid) == ["sleep", "600"]
