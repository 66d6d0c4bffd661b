"""`import`: configurations of other supervisors as a multi.toml, and back to the nodes that were exported."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from textwrap import dedent

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grammar_tools import expand_words
from multi.errors import MultiError
from multi.export import Order, find
from multi.importing import FORMS, Source, form_of, toml_of
from multi.model.node import Known, Node
from multi.settings.config import Config, parse_config
from multi.value import replace

HOME = "/srv/proj"


def source(text: str, path: str = "x.conf", **beside: str) -> Source:
    """A file, and others beside it."""
    return Source(path, dedent(text), HOME, lambda name: beside.get(name.removeprefix(".")))


def config(text: str, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration that a text is."""
    return parse_config(text, "multi.toml", environ or {}, lambda _: b"")


def imported(text: str, path: str = "x.conf", **beside: str) -> dict[str, Node]:
    """The nodes of what is made of a file, by their short names."""
    return nodes_of(toml_of([source(text, path, **beside)]))


def nodes_of(text: str, environ: Mapping[str, str] | None = None) -> dict[str, Node]:
    """The nodes of a configuration."""
    return {node.short: node for node in expand_words([], config=config(text, environ)).nodes}


# -- what was exported comes back ----------------------------------------------------------------------------------

# What means something to a shell, to an INI file, to a template of multi or to TOML.
ODD = """
    %% %s %n %(here)s %(ENV_HOME)s $HOME ${X} $$ `x` ; # \\ \\\\ ' " "" '' '"'" ${{ }} $(circus.wid) ~ *
    [a] {b} | && < = , é \u3000 \U0001f600
"""
WORDS = st.lists(
    st.sampled_from([*ODD.split(), " ", "a b", " ; c", " # d", "\xa0"])
    | st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"]), max_size=6),
    max_size=3,
).map("".join)
PATHS = WORDS.map(lambda text: "/srv/" + text.replace("/", "").strip()).filter(lambda path: path[-1] not in " ./")
ENV = st.dictionaries(st.sampled_from(["A", "B_C", "PATHS"]), WORDS | st.none(), max_size=3)
NODES = st.fixed_dictionaries(
    {
        "words": st.lists(WORDS, min_size=1, max_size=5),
        "env": ENV,
        "workdir": PATHS,
        "uid": st.none() | st.just("worker"),
        "umask": st.none() | st.sampled_from([0o22, 0o77, 0]),
        "signal": st.sampled_from(["TERM", "INT", "QUIT"]),
        "seconds": st.integers(1, 600),
        "kill_mode": st.sampled_from(["mixed", "process"]),
        "nice": st.none() | st.integers(0, 19),
        "rlimits": st.sampled_from([(), (("NOFILE", 64, -1),), (("CORE", 0, 0), ("NPROC", -1, -1))]),
    }
)


def made(said: Mapping[str, object], name: str = "w1") -> Node:
    """A node that all forms can say."""
    values = dict(said)
    words = ["/bin/prog", *values["words"]]  # type: ignore[misc]
    typed = ["--preset=exec", name, f"--stop-schedule={values['signal']}/{values['seconds']}/KILL/5"]
    (node,) = expand_words([*typed, f"--kill-mode={values['kill_mode']}", "--cmd=x", "--logfile=/log/%n.log"]).nodes
    env = tuple(values["env"].items())  # type: ignore[attr-defined]
    command = Known(tuple(words))
    fields = {each: values[each] for each in ("workdir", "uid", "umask", "nice", "rlimits")}
    return replace(node, command=command, env=env, **fields)  # type: ignore[arg-type]


def exported(form: str, nodes: list[Node]) -> str | None:
    """The nodes in that form; None where the form cannot hold them."""
    try:
        (text,) = find(form).files(Order(nodes=nodes, program=("multi",))).values()
    except MultiError:
        return None
    return text


def alike(node: Node, *names: str) -> dict[str, object]:
    """What must be the same; an environment has no order."""
    values: dict[str, object] = {name: getattr(node, name) for name in names}
    return {**values, "env": dict(node.env), "words": node.words, "workdir": node.workdir, "umask": node.umask}


SEVERAL = st.dictionaries(st.sampled_from(["w1", "a-b", "x-0", "Z_9"]), NODES, min_size=1, max_size=2)


@settings(deadline=None, max_examples=40)
@given(SEVERAL)
def test_supervisord_there_and_back(said: Mapping[str, Mapping[str, object]]) -> None:
    """import(export(nodes)) are the nodes, in all that the form has words for."""
    nodes = [made(values, name) for name, values in said.items()]
    text = exported("supervisord", nodes)
    back = imported(text) if text is not None else {}
    assert text is None or back.keys() == said.keys()
    for node in nodes if back else ():
        one = back[node.short]
        names = ("uid", "logfile", "kill_mode", "nice", "rlimits")
        assert alike(one, *names) == alike(node, *names)
        assert str(one.stop) == str(node.stop)
        assert one.startsecs == math.ceil(node.startsecs)


@settings(deadline=None, max_examples=40)
@given(SEVERAL)
def test_a_procfile_there_and_back(said: Mapping[str, Mapping[str, object]]) -> None:
    """The same of a Procfile, which has words for less."""
    nodes = [made(values, name) for name, values in said.items()]
    text = exported("procfile", nodes)
    back = imported(text, "Procfile") if text is not None else {}
    assert text is None or back.keys() == said.keys()
    for node in nodes if back else ():
        assert alike(back[node.short], "nice", "rlimits") == alike(node, "nice", "rlimits")


@settings(deadline=None, max_examples=40)
@given(st.lists(WORDS, max_size=4), st.sampled_from("'\"`"))
@example(['\\"'], "'")
def test_a_value_of_javascript_is_read_as_it_is_written(words: list[str], quote: str) -> None:
    """Whatever the quotes are, and whatever stands in them."""
    escaped = [word.replace("\\", "\\\\").replace(quote, f"\\{quote}") for word in words]
    texts = ", ".join(f"{quote}{word}{quote}" for word in escaped)
    text = f"module.exports = {{apps: [{{name: 'x', script: 'y', /* {quote} */ args: [{texts},], // {quote}\n}}]}};"
    if quote == "`" and any("${" in word for word in words):
        with pytest.raises(MultiError, match="is JavaScript"):
            imported(text, "e.config.js")
    else:
        assert imported(text, "e.config.js")["x"].words == ("y", *words)


OPTIONS = """
    -c:1=3 -c:a=4 --concurrency=5 -l=INFO --pidfile=/run/%n.pid --umask:b=027 -Q:a,b=x --time-limit:1-2=9 -O=fair -Ofair
    --env=K=V --stop-schedule=TERM/9
"""
# A short option and its value are two words.
LINES = st.lists(
    st.sampled_from(OPTIONS.split()).map(lambda word: word.split("=", 1) if word[1] != "-" else [word]), max_size=6
)


@settings(deadline=None, max_examples=40)
@given(LINES)
def test_a_line_of_celery_multi_means_the_same(options: list[list[str]]) -> None:
    """The nodes of the file are those of the line: commands, and what is set for them."""
    typed = ["a", "b", *(word for words in options for word in words), "-A", "proj"]
    line = f"celery multi start {shlex.join(typed)}"
    there = {node.short: node for node in expand_words(typed).nodes}
    back = nodes_of(toml_of([source(line, "start.sh")]))
    assert back.keys() == there.keys()
    for name, node in there.items():
        assert sorted(back[name].words) == sorted(node.words)
        assert replace(back[name], command=node.command, origin="", pidfile="", logfile="") == replace(
            node, origin="", pidfile="", logfile=""
        )
        assert "--pidfile" not in line or back[name].pidfile == node.pidfile


# -- forms ---------------------------------------------------------------------------------------------------------

SUPERVISORD = """
    [supervisord]
    nodaemon=true
    environment=LANG="C.UTF-8"
    [program:web]
    command=/srv/venv/bin/gunicorn -b 0.0.0.0:80%(process_num)02d proj.wsgi ; the server
    process_name=%(program_name)s_%(process_num)02d
    numprocs=2
    directory=/srv/proj
    user=www-data
    autorestart=true
    environment=DJANGO_SETTINGS_MODULE="proj.settings",KEY='a,b',HOME="%(ENV_HOME)s"
    stopsignal=INT
    stopwaitsecs=30
    stdout_logfile=/var/log/web_%(process_num)d.log
    stderr_logfile=/var/log/web.err
    priority=900
    [program:celery]
    command=/srv/venv/bin/celery -A proj worker -l info -n w@%%h
    stopwaitsecs = 600
    exitcodes=0,2
    autostart=false
    stopasgroup=true
    [group:all]
    programs=web,celery
"""


def test_supervisord() -> None:
    """Programs, their processes, a group; a Celery worker is one of Celery's preset."""
    text = toml_of([source(SUPERVISORD)])
    nodes = nodes_of(text, {"HOME": "/home/u"})
    assert config(text, {"HOME": "/"}).groups[0].nodes == ("web_00", "web_01", "celery")
    web = nodes["web_01"]
    assert web.words == ("/srv/venv/bin/gunicorn", "-b", "0.0.0.0:8001", "proj.wsgi")
    assert (web.workdir, web.uid, web.restart, web.logfile) == ("/srv/proj", "www-data", "always", "/var/log/web_1.log")
    assert str(web.stop) == "INT/30/KILL/5"
    assert dict(web.env) == {
        "LANG": "C.UTF-8", "DJANGO_SETTINGS_MODULE": "proj.settings", "KEY": "a,b", "HOME": "/home/u",
    }  # fmt: skip
    celery = nodes["celery"]
    assert (celery.preset, celery.exit_ok, str(celery.stop)) == ("celery", (0, 2), "TERM/600/KILL/5")
    assert celery.words[:4] == ("/srv/venv/bin/celery", "-A", "proj", "worker")
    assert celery.name in celery.words
    for remark in (
        "priority: ",
        "priority = 900",
        "stderr_logfile: ",
        "autostart = false: ",
        "stopasgroup = true: ",
        "it was called w@%h",
    ):
        assert f"# {remark}" in text.replace("%%", "%")


CIRCUS = """
    [circus]
    check_delay = 5
    [watcher:app]
    cmd = python
    args = -u app.py --worker $(circus.wid)
    numprocesses = 2
    working_dir = /srv
    stop_signal = QUIT
    graceful_timeout = 60
    rlimit_nofile = 1000
    stdout_stream.class = FileStream
    stdout_stream.filename = /var/log/app.log
    use_sockets = True
    [watcher:one]
    cmd = /srv/run.sh
    respawn = false
    max_age = 3600
    [env:a*]
    HOST = $(circus.env.HOSTNAME)
    [socket:web]
    port = 80
"""


def test_circus() -> None:
    """Watchers, their processes, the environments that are for them."""
    text = toml_of([source(CIRCUS, "circus.ini")])
    nodes = nodes_of(text, {"HOSTNAME": "box"})
    assert nodes["app-2"].words == ("python", "-u", "app.py", "--worker", "2")
    assert (nodes["app-1"].workdir, str(nodes["app-1"].stop), nodes["app-1"].restart) == (
        "/srv",
        "QUIT/60/KILL/5",
        "always",
    )
    assert (dict(nodes["app-1"].env), dict(nodes["one"].env)) == ({"HOST": "box"}, {})
    assert nodes["app-1"].rlimits == (("NOFILE", 1000, 1000),)
    assert (nodes["one"].restart, nodes["one"].max_age) == ("no", 3600)
    assert "# use_sockets = True: " in text
    assert "[socket:web]" in text


PROCFILE = """
    web: gunicorn app:app -b 0.0.0.0:$PORT
    worker: python worker.py --queue 'a b'
    beat: celery -A proj beat -l info
    # no node
    worker python x.py
"""


def test_procfile() -> None:
    """A line is a node; a shell runs only what needs one; .env is read when a node starts."""
    text = toml_of([source(PROCFILE, "Procfile", env="PORT=7000\nSECRET=x\n")])
    assert "SECRET" not in text
    assert "# no line NAME: COMMAND, and passed over as foreman and honcho do: worker python x.py\n" in text
    parsed = config(text)
    assert dict(parsed.defaults.values)["env_file"] == (f"{HOME}/.env",)
    cut = re.sub("(?m)^env_file.*$", "", text)
    nodes = nodes_of(cut)
    assert nodes["web"].words == ("/bin/sh", "-c", "exec gunicorn app:app -b 0.0.0.0:$PORT")
    assert nodes["worker"].words == ("python", "worker.py", "--queue", "a b")
    assert [dict(node.env).get("PORT") for node in nodes.values()] == ["7000", "7100", "7200"]
    assert nodes["beat"].preset == "celery-beat"
    assert nodes["web"].workdir == HOME


PM2 = """
    {"apps": [
      {"name": "api", "script": "./server.js", "instances": 2, "exec_mode": "cluster", "kill_timeout": 5000,
       "env": {"NODE_ENV": "production", "PORT": 3000}, "env_staging": {"A": 1}, "max_memory_restart": "500M",
       "min_uptime": "10s", "watch": true, "out_file": "logs/out.log", "node_args": "--inspect"},
      {"script": "worker.py", "args": ["-q", "a b"], "cwd": "/srv/w", "autorestart": false}
    ]}
"""


def test_pm2() -> None:
    """Apps, their instances; milliseconds are seconds."""
    text = toml_of([source(PM2, "ecosystem.json")])
    nodes = nodes_of(text)
    api = nodes["api-1"]
    assert api.words == ("node", "--inspect", "./server.js")
    assert (api.workdir, api.logfile, api.max_memory, api.startsecs) == (HOME, f"{HOME}/logs/out-1.log", 500 << 20, 10)
    assert dict(api.env) == {"NODE_ENV": "production", "PORT": "3000", "NODE_APP_INSTANCE": "1"}
    assert (str(api.stop), api.restart) == ("INT/5/KILL/5", "always")
    assert (nodes["worker"].words, nodes["worker"].restart) == (("python3", "worker.py", "-q", "a b"), "no")
    for remark in ("watch = true:", "env_staging:", "exec_mode = cluster:"):
        assert f"# {remark}" in text


CELERYD = """
    # names
    CELERYD_NODES="worker1 worker2"
    CELERY_BIN=/srv/venv/bin/celery
    CELERY_APP="proj"   # the app
    BASE=/srv
    CELERYD_CHDIR="$BASE/proj/"
    CELERYD_OPTS="--time-limit=300 -c 8 -c:worker2 4 \\
      -Ofair"
    CELERYD_LOG_FILE="/var/log/celery/%n%I.log"
    CELERYD_PID_FILE="/run/celery/%n.pid"
    CELERYD_USER="celery"
    CELERY_CREATE_DIRS=1
    export DJANGO_SETTINGS_MODULE='proj.settings'
    CELERYBEAT_OPTS="--schedule=${BASE}/beat.db"
    umask 022
"""


def test_celeryd() -> None:
    """The nodes of the init script, and beat."""
    text = toml_of([source(CELERYD, "/etc/default/celeryd")])
    nodes = nodes_of(text)
    two, beat = nodes["worker2"], nodes["beat"]
    assert two.words[:6] == ("/srv/venv/bin/python3", "-m", "celery", "-A", "proj", "worker")
    assert beat.words[:3] == ("/srv/venv/bin/python3", "-m", "celery")
    assert two.words[two.words.index("-c") + 1] == "4"
    assert {"--time-limit=300", "-Ofair", "--loglevel=INFO"} <= set(two.words)
    assert (two.workdir, two.pidfile, two.uid) == ("/srv/proj/", "/run/celery/worker2.pid", "celery")
    assert dict(two.env)["DJANGO_SETTINGS_MODULE"] == "proj.settings"
    assert (beat.preset, beat.pidfile) == ("celery-beat", "/var/run/celery/beat.pid")
    assert "--schedule=/srv/beat.db" in beat.words
    assert "# not a variable, and not imported: umask 022" in text
    assert "BASE" in text.split("[groups", 1)[0], "what is not exported is said"


def test_a_script_with_celery_multi() -> None:
    """Its variables before the line, what stands before `multi`, and nothing behind it."""
    text = "#!/bin/sh\n# celery multi start old\ncd /srv\nA=1 exec /v/bin/celery -A p multi start 2 -l INFO && ls\n"
    nodes = imported(text, "start.sh")
    assert list(nodes) == ["celery1", "celery2"]
    assert nodes["celery1"].words[:6] == ("/v/bin/python3", "-m", "celery", "-A", "p", "worker")
    assert dict(nodes["celery1"].env)["A"] == "1"


@pytest.mark.parametrize(
    ("celery", "script", "words"),
    [
        ("/v/bin/celery", None, ("/v/bin/python3", "-m", "celery")),
        ("/usr/local/bin/celery", "#!/usr/bin/python3.9 -sP\nimport re\n", ("/usr/bin/python3.9", "-m", "celery")),
        ("/v/bin/celery", "#! /srv/w/bin/python\n", ("/srv/w/bin/python", "-m", "celery")),
        ("/v/bin/celery", "#!/usr/bin/env python3\n", ("/v/bin/python3", "-m", "celery")),
        ("/v/bin/celery", "#!/bin/sh\nexec /x/python", ("/v/bin/python3", "-m", "celery")),
        ("/opt/run-celery", None, ("/opt/run-celery",)),
        ("/v/bin/python -m celery", None, ("/v/bin/python", "-m", "celery")),
        ("uv run celery", None, ("uv", "run", "python", "-m", "celery")),
        ("uv run -m celery", None, ("uv", "run", "-m", "celery")),
        ("python manage.py celery", None, ("python", "manage.py", "celery")),
    ],
)
def test_the_python_of_celery_multi_runs_the_worker(celery: str, script: str | None, words: tuple[str, ...]) -> None:
    """`celery multi` runs `-m celery`, which finds modules in the directory of the worker; `bin/celery` does not."""
    beside = {} if script is None else {celery: script}
    for text in (f"CELERYD_NODES=w1\nCELERY_BIN='{celery}'\n", f"{celery} multi start w1 -l INFO\n"):
        if "CELERY_BIN" in text or words != ("/opt/run-celery",):  # who knows what that does with a line
            assert imported(text, "x", **beside)["w1"].words[: len(words) + 1] == (*words, "worker")


# What files of public repositories do: words and keys in an order of their own, other programs around, old spellings.
FOUND = [
    (
        """
        [program:beat]
        autostart=%(ENV_BEAT)s
        command=celery beat
                    --app=%(ENV_APP)s
                    --pidfile=/tmp/beat.pid
        user=%(ENV_WHO)s
        group=root
        stdout_logfile=/dev/fd/1
        stdout_logfile_maxbytes=0
        numprocs=1
        """,
        {"beat": ("celery", "--app=x", "beat")},
        ("# group = root: multi has no word for it", "# autostart = %(ENV_BEAT)s:"),
    ),
    (
        """
        [program:q]
        process_name=%(program_name)s_%(process_num)02d
        command=/v/bin/celery worker --app=p -l WARNING --hostname=q%(process_num)d@%%h
        numprocs=2
        environment=LANG=en_US.UTF-8,LC_ALL=en_US.UTF-8
        killasgroup=true
        """,
        {"q_01": ("/v/bin/celery", "--app=p", "worker", "-l", "WARNING")},
        ("# it was called q1@%h",),
    ),
    (
        """
        [Service]
        Type=forking
        ExecStart=/opt/app/bin/celery multi start w1 \\
            -A proj --pidfile=/run/celery_%n.pid --concurrency=4
        ExecStop=/opt/app/bin/celery multi stopwait w1
        """,
        {"w1": ("/opt/app/bin/python3", "-m", "celery", "-A", "proj", "worker", "--concurrency=4")},
        (),
    ),
    (
        "rm *.pid\ncelery multi start up@robo -A b.celery -l info -c:1 1 -Q:1 update 2>&1 | tee x\ncelery flower &\n",
        {"up": ("-A", "b.celery", "worker", "-c", "1", "-Q", "update")},
        (),
    ),
    (
        'CELERYD_NODES="w1"\nCELERYD_MULTI="python /x/manage.py celeryd_multi"\nCELERY_CONFIG_MODULE="c"\n',
        {"w1": ("worker", "--loglevel=INFO")},
        ("# CELERYD_MULTI = python /x/manage.py celeryd_multi: write cmd", "CELERY_CONFIG_MODULE"),
    ),
]


@pytest.mark.parametrize(("text", "words", "remarks"), FOUND)
def test_what_people_have(text: str, words: dict[str, tuple[str, ...]], remarks: tuple[str, ...]) -> None:
    """Each is read; the words of the command are there, and what has no equal is said."""
    made_of = toml_of([source(text)])
    nodes = nodes_of(made_of, {"APP": "x", "WHO": "root"})
    for name, some in words.items():
        assert set(some) <= set(nodes[name].words), nodes[name].words
    for remark in remarks:
        assert remark in made_of


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("s.conf", "[program:x]\ncommand=a\nautorestart={}\n"),
        ("c.ini", "[watcher:x]\ncmd=a\nrespawn={}\n"),
        ("e.json", '{{"apps": [{{"name": "x", "script": "a", "autorestart": {}}}]}}'),
    ],
)
def test_what_is_never_repeated_there_may_be_here(path: str, text: str) -> None:
    """`ensure` starts again what failed, also with restart = "no", which a comment says."""
    never, again = (toml_of([source(text.format(word), path)]) for word in ("false", "true"))
    assert 'restart = "no"' in never
    assert "# restart = no: 'multi run' leaves it as it ended; 'multi ensure', " in never
    assert "# restart" not in again


def test_several_files_are_one_configuration() -> None:
    """Nodes of other forms say their preset for themselves; a name that is there twice is refused."""
    several = "[watcher:w]\ncmd=sleep 9\nnumprocesses=2\n"
    text = toml_of([source(CELERYD, "celeryd"), source("[program:web]\ncommand=sleep 9\n"), source(several, "c.ini")])
    nodes = nodes_of(text)
    assert {name: node.preset for name, node in nodes.items()} == {
        "worker1": "celery", "worker2": "celery", "beat": "celery-beat", "web": "exec", "w-1": "exec", "w-2": "exec",
    }  # fmt: skip
    with pytest.raises(MultiError, match=r"web: is in x\.conf and in x\.conf; import the files one by one"):
        toml_of([source("[program:web]\ncommand=a\n"), source("[watcher:web]\ncmd=b\n")])
    all_of_one = ("[watcher:b]\ncmd=b\n", "b.ini"), ("web: x\n", "Procfile"), ("[program:a]\ncommand=a\n", "a.conf")
    with pytest.raises(MultiError, match=r"web: is in a\.conf, w\.conf and in Procfile;"):  # those of one form are one
        toml_of([source(*each) for each in (*all_of_one, ("[program:web]\ncommand=a\n", "w.conf"))])


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        (
            "const port = 80\nmodule.exports = {apps: [{script: 'a.js', env: {PORT: port}}]}",
            "ecosystem.config.js",
            "is JavaScript that is more than one value, and multi runs none; make JSON of it",
        ),
        ("module.exports = {apps: [{script: `${a}`}]}", "e.js", "is JavaScript that is more than one value"),
        ("apps:\n  - script: app.js\n", "ecosystem.yml", "is YAML, which multi does not read"),
        ("{broken", "eco.json", "is not JSON"),
        ('{"apps": [{"name": "x"}]}', "eco.json", "the app 'x' has no script"),
        ("[program:x]\ndirectory=/", "s.conf", "has no command"),
        ("[program:x]\ncommand=a 'b", "s.conf", "s.conf: [program:x] command: No closing quotation"),
        ("[watcher:x]\ncmd=a 'b", "c.ini", "c.ini: [watcher:x] cmd: No closing quotation"),
        ("[program:x]\ncommand=a\nnumprocs=99999999", "s.conf", "numprocs: 99999999 are more than 10000 nodes"),
        ("[watcher:x]\ncmd=a\nnumprocesses=99999999", "c.ini", "numprocesses: 99999999 are more than 10000 nodes"),
        ('{"apps": [{"script": "a.js", "instances": 99999999}]}', "e.json", "99999999 are more than 10000 nodes"),
        ("{% for x in y %}\n[program:x]\n{% endfor %}", "s.conf", "is a template, with lines like {% if ... %}"),
        ("[program:x]\ncommand=%(nosuch)s", "s.conf", "%(nosuch)s is not known"),
        ("[program:x]\ncommand=a\nstopwaitsecs=soon", "s.conf", "'soon' is not a number"),
        (
            "[program:x]\ncommand=a\nenvironment=A",
            "s.conf",
            "s.conf: [program:x] environment: is no list of KEY=value;",
        ),
        ("[group:x]\nprograms=y\n[program:z]\ncommand=a", "s.conf", "'y', which is no program there"),
        ("[watcher:x]\n", "c.ini", "has no cmd"),
        ("celery multi start $NODES -A p", "s.sh", "has variables of the shell"),
        ("celery multi start w1@$(hostname) -A p", "s.sh", "'w1@$(hostname)' is made by a command"),
        ("celery multi start -A p", "s.sh", "names no node"),
        ("CELERYD_NODES=`hostname`", "celeryd", "is made by a command"),
        ("CELERYD_NODES=a\nCELERY_BIN='cd /x && pipenv run celery'", "celeryd", "is a line for a shell"),
        ("### BEGIN INIT INFO\nCELERYD_NODES=a\n", "celeryd", "is the init script; name the file that it reads"),
        ('#\nA=1 \\\n\nCELERYD_NODES="w1\nCELERY_APP=p', "celeryd", "celeryd:4: CELERYD_NODES: No closing quotation"),
        ("""CELERYD_NODES=w1\nCELERYD_OPTS="-c '2\"""", "celeryd", "celeryd: CELERYD_OPTS: No closing quotation"),
        ("""CELERYD_NODES="w1 'a\"""", "celeryd", "celeryd: CELERYD_NODES: No closing quotation; close"),
        ("""CELERYBEAT_OPTS="-s 'a\"""", "celerybeat", "CELERYBEAT_OPTS: No closing quotation"),
        (
            "Environment='A=b\nExecStart=celery multi start w1",
            "x.service",
            "x.service: Environment: No closing quotation",
        ),
        (
            "[program:a]\ncommand=x\nautorestart=maybe",
            "s.conf",
            "s.conf: [program:a] autorestart: 'maybe' is not known",
        ),
        (
            "[program:a]\ncommand=x\nnumprocs=%(ENV_NP)s",
            "s.conf",
            "s.conf: [program:a] numprocs: ${NP} is not known here",
        ),
        ("[program:a]\ncommand=x\nnumprocs=three", "s.conf", "s.conf: [program:a] numprocs: 'three' is not a number"),
        ("[program:a]\ncommand=x\nnumprocs=0", "s.conf", "s.conf: has no [program:NAME] that starts a process"),
        (
            "[program:a]\ncommand=x\nnumprocs=2",
            "s.conf",
            "[program:a] numprocs = 2: its processes have one name; write",
        ),
        (
            "[program:a]\ncommand=x\nstopsignal=TREM",
            "s.conf",
            "s.conf: [program:a] TREM: is not a signal of this system",
        ),
        ("[program:a]\ncommand=x %(ENV_A)s '", "s.conf", "s.conf: [program:a] command: No closing quotation"),
        (
            "[supervisord]\nminfds=x\n[program:a]\ncommand=x",
            "s.conf",
            "s.conf: [supervisord] minfds: 'x' is not a number",
        ),
        ("[watcher:a]\ncmd=x\nnumprocesses=two", "c.ini", "c.ini: [watcher:a] numprocesses: 'two' is not a number"),
        ("[watcher:a]\ncmd=x\nnumprocesses=0", "c.ini", "c.ini: has no [watcher:NAME] that starts a process"),
        (
            '{"apps": [{"name": "a", "script": "b", "kill_timeout": "x"}]}',
            "e.json",
            "e.json: a kill_timeout: 'x' is not",
        ),
        (
            '{"apps": [{"name": "a", "script": "b", "max_memory_restart": "x"}]}',
            "e.json",
            "e.json: a max_memory_restart",
        ),
        ("celery multi restart w1 -A p -c:w9 3 -c:0 2", "x.sh", "the first node has the index 1; the nodes are 1 w1;"),
        (
            "x: y\n[program:a]\ncommand=x",
            "s.conf",
            "s.conf:1: 'x: y' is no line of an INI file; write KEY = VALUE below",
        ),
        ("[program:a]\ncommand", "s.conf", "s.conf:2: 'command' is no line of an INI file"),
        ("[program:a\ncommand=x\n[program:b]", "s.conf", "s.conf:1: '[program:a' is no line of an INI file"),
        ("nothing that is known", "x", "is in no form that is known"),
        ("root:x:0:0:root:/root:/bin/bash\nbin:x:2:2::/:/bin/false", "passwd", "is in no form that is known"),
    ],
)
def test_g9_what_cannot_be_imported(text: str, path: str, says: str) -> None:
    """G9: one line that says what is wrong, and what to do."""
    with pytest.raises(MultiError) as caught:
        toml_of([source(text, path)])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["program:x", "supervisord"])
@pytest.mark.parametrize(
    ("said", "why"),
    [("A=1,PASSWORD=hunter$2,B=1", "is no list of KEY=value behind PASSWORD; write"), ("A='hunter", "No closing quot")],
)
def test_a_value_that_may_be_a_secret_is_not_shown(section: str, said: str, why: str) -> None:
    """The file, the section and the name of the variable are enough to find it."""
    text = f"[program:x]\ncommand=a\n[supervisord]\n[{section}]\nenvironment={said}\n"
    with pytest.raises(MultiError) as caught:
        toml_of([source(text, "s.conf")])
    assert str(caught.value).startswith(f"s.conf: [{section}] environment: {why}")
    assert "hunter" not in str(caught.value)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(FORMS), st.text(max_size=200) | st.from_regex(r"(\[\w*:?\w*\]\n(\w+ ?= ?.{0,20}\n){0,4}){1,3}"))
def test_g9_any_text_gets_a_configuration_or_an_error(form: str, text: str) -> None:
    """G9: whatever is in a file, and whatever form it is said to be: never another exception."""
    try:
        made_of = toml_of([source(text)], form)
    except MultiError:
        return
    config(made_of, dict.fromkeys(re.findall(r"\$\{(\w+)\}", made_of), "x"))


def test_a_form_is_known_by_what_is_in_it() -> None:
    """Each example is taken for what it is; a word that is no form is refused with the nearest."""
    texts = {"supervisord": SUPERVISORD, "circus": CIRCUS, "procfile": PROCFILE, "pm2": PM2, "celeryd": CELERYD}
    assert {form: form_of(source(text)) for form, text in texts.items()} == {form: form for form in texts}
    assert form_of(source("celery multi start w1 -A proj")) == "celery-multi"
    with pytest.raises(MultiError, match="did you mean 'supervisord'"):
        form_of(source(""), "supervisor")
