"""`multi import`: the same configuration under its supervisor and under multi runs the same words and variables."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from private_machine import need
from real import Real, run, until

pytestmark = pytest.mark.engine  # other supervisors

PATIENCE = 120.0  # seconds; a deadline, not a wait
# Writes down what it was started with, under the name that it is told, and stays.
DUMP = """
import json, os, pathlib, sys, time
name = sys.argv[sys.argv.index("-n") + 1].partition("@")[0] if "-n" in sys.argv else sys.argv[1]
there = pathlib.Path(os.environ["DUMPS"], name)
what = {"words": sys.argv, "env": dict(os.environ), "cwd": os.getcwd(), "umask": os.umask(0), "pid": os.getpid()}
there.with_suffix(".new").write_text(json.dumps(what))
there.with_suffix(".new").rename(there)
time.sleep(0 if "--detach" in sys.argv else 600)  # celery multi waits for the end of what goes on elsewhere
"""
# What a supervisor tells its processes of itself, and a shell of where it is.
OWN = (
    "SUPERVISOR_",
    "MULTI_",
    "HONCHO_",
    "PWD",
    "OLDPWD",
    "_",
    "SHLVL",
    "PYTHONUNBUFFERED",
    "NOTIFY_SOCKET",
    "SPT_NOENV",
)

SUPERVISORD = r"""
    [supervisord]
    nodaemon=true
    logfile=%(here)s/d.log
    pidfile=%(here)s/d.pid
    childlogdir=%(here)s
    environment=ALL="every one",ROOT="%(here)s"
    [include]
    files = conf.d/*.conf
    [group:both]
    programs=many,odd
"""
INCLUDED = r"""
    [program:many]
    command=%(ENV_PYTHON)s %(ENV_ROOT)s/dump.py many_%(process_num)02d '%(group_name)s' "a b" ; the rest is a comment
    process_name=%(program_name)s_%(process_num)02d
    numprocs=2
    numprocs_start=1
    environment=PORT="80%(process_num)02d",QUOTED='say "hi", ${HOME}',PERCENT="100%%",PLAIN=x-1,
        ALL="%(ENV_ASKED)s %(here)s"
    stdout_logfile=logs/%(program_name)s.log
    umask=027
    [program:odd]
    command=%(ENV_PYTHON)s "%(ENV_ROOT)s/dump.py" odd $HOME '$X' 50%% '' \; # no
    directory=%(ENV_ROOT)s/logs
    Environment = A=1 , B = "two words" ,
     C='3'
"""
CIRCUS = r"""
    [circus]
    endpoint = ipc://{base}/e.sock
    pubsub_endpoint = ipc://{base}/p.sock
    include = conf.d/*.conf
    [env]
    ALL = every one
    PORT = 8000
"""
WATCHERS = r"""
    [watcher:many]
    cmd = $(circus.env.PYTHON) dump.py
    args = many-$(circus.wid) --port $(circus.env.port) "a b" '$HOME' # all ; but this
    numprocesses = 2
    copy_env = True
    [watcher:odd]
    cmd = {python} ../dump.py odd "say \"hi\""
    working_dir = {base}/logs
    shell = True
    copy_env = True
    [env:o*,x]
    ALL = of $ASKED, 100%
    Lower = x
"""
PROCFILE = r"""
    many: $PYTHON dump.py many "$ASKED" $PORT '$HOME' "a  b" ;
    odd: A="1 2" {python} dump.py odd --queue 'x y' \; é
    cd: cd logs && exec {python} ../dump.py cd
"""


def dumps(real: Real, names: list[str]) -> dict[str, dict[str, object]]:
    """What the processes of these names wrote down; it is taken away for the next."""
    until(lambda: all((real.base / "dumps" / name).exists() for name in names), f"all of {names} run", PATIENCE)
    found: dict[str, dict[str, object]] = {}
    for name in names:
        path = real.base / "dumps" / name
        found[name] = json.loads(path.read_text(encoding="utf-8"))
        env = found[name]["env"]
        assert isinstance(env, dict)
        found[name]["env"] = {key: value for key, value in env.items() if not key.startswith(OWN)}
        path.unlink()
    return found


def end(daemon: subprocess.Popen[bytes], found: dict[str, dict[str, object]]) -> None:
    """End the supervisor, and what it leaves: the shell of circus dies alone."""
    daemon.terminate()
    daemon.wait(PATIENCE)
    for facts in found.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(str(facts.pop("pid"))), signal.SIGKILL)


def differences(
    theirs: dict[str, dict[str, object]], ours: dict[str, dict[str, object]]
) -> list[tuple[str, str, object, object]]:
    """Which facts of which process are not the same."""
    found: list[tuple[str, str, object, object]] = []
    for name, facts in theirs.items():
        one, other = ({**each, **each["env"], "env": ""} for each in (facts, ours[name]))  # type: ignore[dict-item]
        found += [(name, key, one.get(key), other.get(key)) for key in {*one, *other} if one.get(key) != other.get(key)]
    return found


@pytest.fixture
def place(real: Real) -> Real:
    """A directory with the worker, and a variable that the configurations ask for."""
    for name in ("dumps", "logs", "conf.d"):
        (real.base / name).mkdir()
    (real.base / "dump.py").write_text(DUMP, encoding="utf-8")
    real.env.update(DUMPS=str(real.base / "dumps"), PYTHON=sys.executable, ASKED="a, 'b' $c", PYTHONWARNINGS="ignore")
    return real


def written(real: Real, path: str, text: str) -> str:
    """A file of the place."""
    whole = dedent(text).replace("{base}", str(real.base)).replace("{python}", sys.executable)
    (real.base / path).write_text(whole, encoding="utf-8")
    return str(real.base / path)


def under_multi(real: Real, config: str, names: list[str], *said: str) -> dict[str, dict[str, object]]:
    """The same from what `multi import` makes of the configuration, which `multi check` finds good."""
    made = str(real.base / "multi.toml")
    real.raw("import", config, f"--output={made}").ok()
    where = (f"--multi-config={made}", f"--pidfile={real.base}/run/%n.pid")
    real.raw("check", *where).ok()
    real.raw("start", *where, "--startsecs=0", *said).ok()
    found = dumps(real, names)
    real.raw("kill", *where).ok()
    for facts in found.values():
        del facts["pid"]
    return found


def test_g11_supervisord_and_multi_run_the_same(place: Real) -> None:
    """G11: words, variables, umask and directory, with an included file, several processes of a program and a group."""
    need("supervisord", root=False)
    written(place, "conf.d/a.conf", INCLUDED)
    config = written(place, "supervisord.conf", SUPERVISORD)
    names = ["many_01", "many_02", "odd"]
    daemon = place.popen("supervisord", "-n", "-c", config)
    theirs = dumps(place, names)
    end(daemon, theirs)
    assert differences(theirs, under_multi(place, config, names)) == []


def test_g11_circus_and_multi_run_the_same(place: Real) -> None:
    """G11: the same of circus, with its variables, an included file, and a shell that expands nothing."""
    if importlib.util.find_spec("circus") is None:
        pytest.skip("needs circus")
    written(place, "conf.d/a.conf", WATCHERS)
    config = written(place, "circus.ini", CIRCUS)
    names = ["many-1", "many-2", "odd"]
    daemon = place.popen(sys.executable, "-m", "circus.circusd", config)
    theirs = dumps(place, names)
    end(daemon, theirs)
    assert differences(theirs, under_multi(place, config, names)) == []


def test_g11_honcho_and_multi_run_the_same(place: Real) -> None:
    """G11: the same of a Procfile and its .env, with and without a shell."""
    pytest.importorskip("honcho")
    written(place, ".env", "PORT=7000\nSECRET='s p'\n")
    config = written(place, "Procfile", PROCFILE)
    names = ["many", "odd", "cd"]
    daemon = place.popen(sys.executable, "-m", "honcho", "-f", config, "start")
    theirs = dumps(place, names)
    end(daemon, theirs)
    assert differences(theirs, under_multi(place, config, names)) == []


SCRIPT = r"""
    export LANG=C.UTF-8 EMPTY= ODD='say "hi" $HOME'
    QUEUES="a,b"
    cd {base}/logs
    celery multi start w1 w2 -A proj -l INFO -Q "$QUEUES" -c:w2 4 --executable={base}/dump --pidfile={base}/%n.pid
"""


def test_g11_celery_multi_and_multi_run_the_same(place: Real) -> None:
    """G11: the same of a script with celery multi, but for the order of the words and what only a daemon needs."""
    program = written(place, "dump", f"#!{{python}}\n{DUMP}")
    Path(program).chmod(0o700)
    config = written(place, "start.sh", SCRIPT)
    celery = written(place, "celery", '#!/bin/sh\nexec {python} -m celery "$@"\n')
    Path(celery).chmod(0o700)
    names = ["w1", "w2"]
    place.env["PATH"] = f"{place.base}:{place.env['PATH']}"
    done = run(["sh", config], place.env, seconds=PATIENCE)
    assert done.returncode == 0, done
    theirs = dumps(place, names)
    ours = under_multi(place, config, names, "--ready=alive", f"--logfile={place.base}/%n.log")
    for found in (theirs, ours):
        for facts in found.values():
            words = [str(word) for word in facts["words"]]  # type: ignore[attr-defined]
            daemons = ("--detach", "--pidfile=", "--logfile=", "--executable=")
            facts["words"] = sorted(word for word in words if not word.startswith(daemons))
            facts.pop("pid", None)
    assert differences(theirs, ours) == []
