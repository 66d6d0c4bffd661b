"""`import`: what the files of public repositories do, and what the supervisor that reads them makes of it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from textwrap import dedent

import pytest

from grammar_tools import expand_words
from multi.importing import Source, toml_of
from multi.model.node import Node
from multi.settings.config import parse_config

HOME = "/srv/proj"


def source(text: str, path: str, others: Mapping[str, str]) -> Source:
    """A file, and those around it."""

    def matching(pattern: str) -> list[Source]:
        sign = re.compile(re.escape(pattern).replace(r"\*", "[^/]*"))
        return [source(found, f"{HOME}/{name}", {}) for name, found in others.items() if sign.fullmatch(name)]

    return Source(path, dedent(text), HOME, lambda name: others.get(posixpath.normpath(name)), matching)


def made(text: str, path: str = "x.conf", **others: str) -> tuple[str, dict[str, Node]]:
    """What is made of a file: the text, and its nodes by their short names."""
    written = toml_of(
        [source(text, path, {name.replace("__", "/"): dedent(each) for name, each in others.items()})], host="box"
    )
    names = re.findall(r"\$\{(\w+)\}", written)
    config = parse_config(written, "multi.toml", {name: f"/V/{name}" for name in names}, lambda _: b"")
    return written, {node.short: node for node in expand_words([], config=config).nodes}


def facts(node: Node, names: object) -> dict[str, object]:
    """What is said of a node, as the tables below have it."""
    values = {"argv": " ".join(node.words), "env": dict(node.env), "stop": str(node.stop), "rlimits": node.rlimits}
    return {name: values[name] if name in values else getattr(node, name) for name in names}  # type: ignore[attr-defined]


SUPERVISORD = [
    (  # keys are written as one likes, and a word for true is any of four
        """
        [program:a]
        Command = sleep 1
        autoRestart = no
        nice = 5
        [program:b]
        command = sleep 1
        autorestart = 1
        """,
        {"a": {"argv": "sleep 1", "restart": "no"}, "b": {"restart": "always"}},
        ("# nice = 5: not a word of theirs, and so not read; multi has it",),
    ),
    (  # what a worker of Celery is told twice, or what multi tells it
        """
        [program:w]
        command = celery worker -l INFO --logfile=/log/w.log --pidfile=/run/w.pid
        stdout_logfile = /log/out.log
        [program:v]
        command = celery worker -l INFO --logfile=/log/v.log --pidfile=
        stdout_logfile = NONE
        """,
        {"w": {"preset": "celery", "logfile": "/log/w.log"}, "v": {"logfile": "/log/v.log"}},
        (
            "# logfile = /log/out.log: stdout and stderr go to one log here, that of --logfile",
            "# --pidfile = /run/w.pid: multi has a pidfile of its own (pidfile)",
        ),
    ),
    (  # a variable of the configuration itself is no variable of whoever reads it
        """
        [supervisord]
        environment=ROOT="/opt/app",HERE="%(here)s"
        [program:a]
        environment=PORT="80%(process_num)02d",NAME="%(group_name)s",HOST=%(host_node_name)s
        command=%(ENV_ROOT)s/bin/a --port %(ENV_PORT)s --home %(ENV_HOME)s
        [group:g]
        programs=a
        """,
        {
            "a": {
                "argv": "/opt/app/bin/a --port 8000 --home /V/HOME",
                "env": {"ROOT": "/opt/app", "HERE": HOME, "PORT": "8000", "NAME": "g", "HOST": "box"},
            }
        },
        ("# env = ${HOSTNAME:-box}: the name of a host",),
    ),
    (  # paths are below the file, or below a home directory; what supervisord is told is for all its programs
        """
        [supervisord]
        user=worker
        directory=run
        umask=027
        minfds=65536
        [program:a]
        command=sleep 1
        stdout_logfile=~/a.log
        [program:b]
        command=sleep 1
        user=root
        directory=./b
        stdout_logfile=logs/b.log
        stdout_logfile_maxbytes=0
        """,
        {
            "a": {
                "workdir": f"{HOME}/run",
                "uid": "worker",
                "umask": 0o27,
                "logfile": "/V/HOME/a.log",
                "rlimits": (("NOFILE", 65536, 65536),),
            },
            "b": {"workdir": f"{HOME}/b", "uid": "root", "logfile": f"{HOME}/logs/b.log"},
        },
        ("# supervisord rotates a log at 50 MB", "# supervisord opens a log as root; multi opens it as the user"),
    ),
    (  # in a container supervisord stays where it is; what has no log of its own still has its errors
        """
        [supervisord]
        nodaemon=true
        user=root
        directory=/tmp
        [program:a]
        command=sleep 1
        stdout_logfile=NONE
        stderr_logfile=/var/log/a.err
        [program:b]
        command=sleep 1
        stdout_logfile=off
        stderr_logfile=/var/log/b.err
        redirect_stderr=true
        [program:c]
        command=sleep 1
        stdout_logfile=/dev/stdout
        stdout_logfile_maxbytes=0
        stderr_logfile=/dev/stderr
        stderr_logfile_maxbytes=0
        [program:d]
        command=sleep 1
        stdout_logfile=syslog
        """,
        {
            "a": {"workdir": None, "uid": None, "logfile": "/var/log/a.err"},
            "b": {"logfile": "/dev/null"},
            "c": {"logfile": "/dev/stdout"},
            "d": {"logfile": "/var/log/multi/d.log"},
        },
        (
            "# stdout_logfile = NONE: ",
            "# stderr_logfile = /dev/stderr: ",
            "# stdout_logfile = syslog: ",
            "# logfile = /dev/stdout: that of 'multi run'",
        ),
    ),
    (  # names that say nothing without their program
        """
        [program:q]
        command=sleep %(process_num)s
        process_name=%(process_num)s
        numprocs=2
        numprocs_start=1
        [program:r]
        command=sleep 9
        process_name=worker
        [program:s]
        command=sleep 9
        process_name=worker
        """,
        {"q_1": {"argv": "sleep 1"}, "q_2": {}, "r_worker": {}, "s_worker": {}},
        (),
    ),
    (  # what is no program stands in a group, too; what kills the group is kill_mode
        """
        [fcgi-program:php]
        command=php-cgi
        socket=tcp://localhost:9000
        [eventlistener:mail]
        command=crashmail
        events=PROCESS_STATE
        [program:a]
        command=sleep 1
        killasgroup=true
        [program:b]
        command=sleep 1
        stopasgroup=true
        startretries=7
        [program:c]
        command=sleep 1
        killasgroup=false
        [group:g]
        programs=a,php
        priority=5
        """,
        {"a": {"kill_mode": "mixed"}, "b": {"kill_mode": "mixed"}, "c": {"kill_mode": "process"}},
        (
            "no such thing: [fcgi-program:php]; let the program listen",
            "no such thing: [eventlistener:mail]; hooks",
            'kill_mode = "mixed"',
            "# stopasgroup = true: ",
            "# startretries = 7: ",
            "# priority = 5: ",
        ),
    ),
]


@pytest.mark.parametrize(("text", "nodes", "remarks"), SUPERVISORD)
def test_supervisord(text: str, nodes: dict[str, dict[str, object]], remarks: tuple[str, ...]) -> None:
    """Each node is what supervisord would run, and what has no equal is said."""
    written, found = made(text)
    assert {name: facts(found[name], wanted) for name, wanted in nodes.items()} == nodes
    assert [remark for remark in remarks if remark not in written] == []


def test_supervisord_with_the_files_that_it_includes() -> None:
    """[include] is followed as supervisord does, and %(here)s is the directory of the file that has it."""
    text = "[supervisord]\n[include]\nfiles = conf.d/*.conf none/*.ini\n[group:all]\nprograms=a,b\n"
    written, found = made(
        text,
        **{"conf.d__a.conf": "[program:a]\ncommand=sleep 1\n", "conf.d__b.conf": "[program:b]\ncommand=sleep 2\n"},
    )
    assert {name: node.words for name, node in found.items()} == {"a": ("sleep", "1"), "b": ("sleep", "2")}
    assert 'nodes = ["a", "b"]' in written
    assert f"# [include] conf.d/*.conf: {HOME}/conf.d/a.conf {HOME}/conf.d/b.conf" in written
    assert "# [include] none/*.ini: no file matches" in written


def test_a_group_says_what_all_its_nodes_do() -> None:
    """Settings and comments once; a node says what differs, and nothing is left to say of one that does not."""
    written, found = made(
        """
        [supervisord]
        environment = A="1"
        umask = 027
        [program:a]
        command = a %(process_num)d
        process_name = %(program_name)s-%(process_num)d
        numprocs = 3
        autostart = false
        [program:b]
        command = b
        process_name = %(program_name)s-%(process_num)d
        numprocs = 2
        environment = A="2",B="%(numprocs)d"
        """
    )
    assert [node.words for node in found.values()] == [("a", "0"), ("a", "1"), ("a", "2"), ("b",), ("b",)]
    assert {(node.umask, dict(node.env)["A"]) for node in found.values()} == {(0o27, "1"), (0o27, "2")}
    assert re.findall(r"^\[(?:groups|nodes).*", written, re.MULTILINE) == [
        *("[groups.a]", "[groups.b]", "[nodes.a-0]", "[nodes.a-1]", "[nodes.a-2]")
    ]
    assert (written.count("umask = "), written.count("autostart = false")) == (2, 1)


def test_why_is_said_once() -> None:
    """What several nodes have no equal for is explained above them all; each says its value."""
    written, _ = made("".join(f"[program:{name}]\ncommand=a\npriority={name}00\n" for name in "123"))
    assert written.count("supervisord starts in this order") == 1
    assert [line for line in written.splitlines() if line.startswith("# priority")] == [
        next(line for line in written.splitlines() if line.startswith("# priority: ")),
        "# priority = 100",
        "# priority = 200",
        "# priority = 300",
    ]


CIRCUS = [
    (  # a variable of the configuration is none of whoever reads it, in any case of its letters
        """
        [circus]
        umask = 027
        [env]
        PORT = 8080
        [env:w*]
        port_of = 1
        NAME = $(circus.env.user)
        PATH = /x:$PATH
        [watcher:web]
        cmd = bin/web --port $(circus.env.port) --fd $(circus.sockets.web) # ; no comment
        numprocesses = 2
        use_sockets = True
        working_dir = $(circus.env.home)/web
        virtualenv = $(circus.env.HOME)/venv
        stdout_stream.filename = logs/web.log
        stderr_stream.filename = logs/web.err
        stop_signal = 2
        hooks.before_start = a.b
        [socket:web]
        host = 0.0.0.0
        port = 80
        """,
        {
            "web-1": {
                "argv": "/V/HOME/web/bin/web --port 8080 --fd $(circus.sockets.web) #",
                "env": {"PORT": "8080", "port_of": "1", "NAME": "/V/USER", "PATH": "/V/HOME/venv/bin:/x:/V/PATH"},
                "workdir": "/V/HOME/web",
                "logfile": f"{HOME}/logs/web.log",
                "stop": "INT/30/KILL/5",
                "umask": 0o27,
            }
        },
        (
            "[socket:web] host = 0.0.0.0, port = 80",
            "# use_sockets = True: ",
            "# $(circus.sockets.NAME): ",
            "# stderr_stream.filename = logs/web.err: ",
            "# hooks.before_start = a.b: ",
            "# copy_env: ",
        ),
    ),
    (  # a shell that is given quoted words expands nothing; a singleton is one
        """
        [watcher:a.b c]
        cmd = sleep
        args = "1 2" $HOME
        shell = True
        copy_env = True
        singleton = True
        numprocesses = 1
        stop_children = True
        rlimit_core =
        [watcher:cd]
        cmd = cd /x && run
        shell = True
        copy_env = True
        [watcher:two]
        cmd = celery worker -n w$(circus.wid)@%h
        copy_env = True
        numprocesses = 2
        [watcher:w]
        cmd = celery worker -l INFO -f /log/w.log
        copy_env = True
        stdout_stream.class = FileStream
        stdout_stream.filename = /log/out.log
        stderr_stream.class = StdoutStream
        """,
        {
            "two-1": {"preset": "celery"},
            "two-2": {"preset": "celery"},
            "w": {"preset": "celery", "logfile": "/log/w.log"},
            "a.b-c": {"argv": "sleep 1 2 $HOME", "workdir": HOME, "rlimits": (("CORE", -1, -1),)},
            "cd": {"argv": "/bin/sh -c cd /x '&&' run"},
        },
        (
            "# stop_children = true: ",
            "# shell: ",
            "# logfile = /log/out.log: stdout and stderr go to one log here, that of --logfile",
            "\n[nodes.two-2]\n# it was called w2@%h; now",
            "# stderr_stream.class = StdoutStream: logfile says where the output goes",
        ),
    ),
]


@pytest.mark.parametrize(("text", "nodes", "remarks"), CIRCUS)
def test_circus(text: str, nodes: dict[str, dict[str, object]], remarks: tuple[str, ...]) -> None:
    """Each node is what circus would run, and what has no equal is said."""
    written, found = made(text, "circus.ini")
    assert {name: facts(found[name], wanted) for name, wanted in nodes.items()} == nodes
    assert [remark for remark in remarks if remark not in written] == []


def test_circus_with_the_files_that_it_includes() -> None:
    """`include` and `include_dir` are followed."""
    main = "[circus]\ninclude = a.ini\ninclude_dir = more\n"
    _, found = made(main, "c.ini", **{"a.ini": "[watcher:a]\ncmd = x\n", "more__b.ini": "[watcher:b]\ncmd = y\n"})
    assert list(found) == ["a", "b"]


PM2 = [
    (  # what pm2 calls JSON is a value of JavaScript, and so is most of its ecosystem.config.js
        """
        // the shop
        module.exports = {
          apps: [{
            name: 'API shop', script: './bin/www', // an extensionless text
            args: ["it's", 'say "hi"', 'it\\'s', `a
        b`],
            env: { NODE_ENV: "production", URL: 'http://x//y', 'A-B': 1 },
            error: "/dev/null", cron: '0 3 * * *', watch: false, port: 3000,
          }, {
            name: "worker", script: "worker.py", interpreter: 'python3.11', interpreter_args: '-u -O', user: "worker",
          },],
          deploy: {production: {user: "node"}},
        };
        """,
        "ecosystem.config.js",
        {
            "API-shop": {
                "argv": "node ./bin/www it's say \"hi\" it's a\nb",
                "logfile": "/dev/null",
                "workdir": HOME,
                "env": {"NODE_ENV": "production", "URL": "http://x//y", "A-B": "1", "PORT": "3000"},
            },
            "worker": {"argv": "python3.11 -u -O worker.py", "uid": "worker", "env": {"PYTHONUNBUFFERED": "1"}},
        },
        ("# not imported: deploy", "# cron_restart = "),
    ),
    (  # a shell runs a script that is a line; a program is known by its bytes; each instance has its own log
        """
        {"apps": [
          {"name": "line", "script": "npm run start -- --port 3000", "cwd": "web"},
          {"name": "npm", "script": "npm", "args": "run start"},
          {"name": "go", "script": "server"},
          {"name": "celery", "script": "celery", "interpreter": "none", "args": "-A proj worker -l info"},
          {"name": "many", "exec": "a.js", "instances": "2", "out_file": "~/many.log", "increment_var": "PORT",
           "env": {"PORT": 3000}, "exec_mode": "cluster"},
          {"name": "old", "script": "b.js", "interpreter": "node@16", "instances": "max"}
        ]}
        """,
        "pm2.json",
        {
            "line": {"argv": "bash -c npm run start -- --port 3000", "workdir": f"{HOME}/web"},
            "npm": {"argv": "npm run start"},
            "go": {"argv": f"{HOME}/server"},
            "celery": {"preset": "celery"},
            "many-1": {"logfile": "/V/HOME/many-1.log", "env": {"PORT": "3001", "NODE_APP_INSTANCE": "1"}},
            "old": {"argv": "node b.js"},
        },
        ("# exec_mode = cluster: ", "# interpreter = node@16: ", "# instances = max: "),
    ),
]


@pytest.mark.parametrize(("text", "path", "nodes", "remarks"), PM2)
def test_pm2(text: str, path: str, nodes: dict[str, dict[str, object]], remarks: tuple[str, ...]) -> None:
    """Each node is what pm2 would run, and what has no equal is said."""
    written, found = made(text, path, **{f"{HOME}/bin/www": "#!/usr/bin/env node\n", f"{HOME}/server": "\x7fELF\0"})
    assert {name: facts(found[name], wanted) for name, wanted in nodes.items()} == nodes
    assert [remark for remark in remarks if remark not in written] == []


CELERY = [
    (  # a script: its directory, what it exports, what it sets itself, each line that starts nodes
        """
        #!/bin/bash
        # celery multi start old -A p
        APP=proj.celery; export LANG=C.UTF-8
        export C_FORCE_ROOT=1 EMPTY=
        cd /srv/app && source venv/bin/activate
        rm -f *.pid
        celery multi start w1 -A $APP -c${COUNT:-4} $EMPTY --pidfile=/run/%n.pid --logfile=logs/%n.log 2>&1 | tee x
        nohup celery multi start fast slow -A "$APP" -Q:fast quick &
        celery multi start w1 -A $APP -c${COUNT:-4} --pidfile=/run/%n.pid --logfile=logs/%n.log
        celery multi restart w9 -A p
        celery -A p beat &
        """,
        "start.sh",
        {
            "w1": {
                "preset": "celery",
                "workdir": "/srv/app",
                "pidfile": "/run/w1.pid",
                "logfile": "/srv/app/logs/w1.log",
            },
            "fast": {},
            "slow": {},
        },
        (
            'executable = "/srv/app/venv/bin/python3"',
            'LANG = "C.UTF-8"',
            'C_FORCE_ROOT = "1"',
            'nodes = ["fast", "slow"]',
            '"-c4"',
        ),
    ),
    (  # a range is for nodes that are counted
        """
        celery multi start 3 fast slow -A p -Q:1-2,slow short -Q long
        celery multi start 2 -A p -Q:1-2 short
        """,
        "start.sh",
        {"3": {}, "fast": {}, "slow": {}, "celery1": {}, "celery2": {}},
        ("# -Q:1-2 is for 3 fast here; celery multi gave it to none",),
    ),
    (  # its own directory
        """
        . ./settings
        cd "$(dirname "$0")"
        celery multi start w1 -A p
        """,
        "start.sh",
        {"w1": {"workdir": HOME}},
        ("# not read: ./settings",),
    ),
    (  # whose worker it is, and which program
        """
        su - www-data -c "cd /srv && /v/bin/python -m celery -A p multi start w1 -l INFO"
        sudo -u deploy -E pipenv run celery multi start w2 -A q
        sudo -u www -H env FOO=b%r nice -n 5 /v/bin/celery multi start w3 -A r
        """,
        "start.sh",
        {
            "w1": {"uid": "www-data", "workdir": "/srv"},
            "w2": {"uid": "deploy"},
            "w3": {"uid": "www", "nice": 5, "env": {"FOO": "b%r"}},
        },
        (
            'cmd = ["/v/bin/python", "-m", "celery", "worker"]',
            'cmd = ["pipenv", "run", "python", "-m", "celery", "worker"]',
            'executable = "/v/bin/python3"',
        ),
    ),
    (  # the unit of Celery's documentation, with the file that it reads
        """
        [Service]
        Type=forking
        User=celery
        Group=www-data
        EnvironmentFile=-/etc/conf.d/celery
        WorkingDirectory=/opt/celery
        Environment="A=b c" D=e
        ExecStart=/bin/sh -c '${CELERY_BIN} -A $CELERY_APP multi start $CELERYD_NODES \\
            --pidfile=${CELERYD_PID_FILE} --logfile=${CELERYD_LOG_FILE} \\
            --loglevel="${CELERYD_LOG_LEVEL}" $CELERYD_OPTS'
        ExecReload=/bin/sh -c '${CELERY_BIN} multi restart $CELERYD_NODES $CELERYD_OPTS'
        """,
        "celery.service",
        {
            "w1": {"uid": "celery", "gid": "www-data", "workdir": "/opt/celery", "pidfile": "/run/w1.pid"},
            "w2": {},
        },
        (
            'env_file = ["/etc/conf.d/celery"]',
            'executable = "/v/python3"',
            '"--loglevel=INFO"',
            'A = "b c"',
            'D = "e"',
        ),
    ),
    (  # read by systemd all variables are exported
        'CELERYD_NODES="w1"\nDJANGO_SETTINGS_MODULE=p.settings\nCELERY_BIN="/v/celery"\n',
        "/etc/conf.d/celery",
        {"w1": {"env": {"DJANGO_SETTINGS_MODULE": "p.settings"}, "uid": "celery"}},
        ("# uid: the file names no user",),
    ),
    (  # the file of the scheduler names what the workers have, too
        (
            'CELERY_BIN=/v/celery\nCELERYD_CHDIR=/srv\nCELERYD_OPTS="-c 4"\nCELERYD_USER=u\n'
            'CELERYBEAT="python m.py cbeat"\n'
        ),
        "/etc/default/celerybeat",
        {"beat": {"workdir": "/srv", "uid": "u", "preset": "celery-beat"}},
        ("# CELERYBEAT = python m.py cbeat: write cmd",),
    ),
]


@pytest.mark.parametrize(("text", "path", "nodes", "remarks"), CELERY)
def test_celery(text: str, path: str, nodes: dict[str, dict[str, object]], remarks: tuple[str, ...]) -> None:
    """Each node is what the script, unit or init script would start, and no other."""
    conf = (
        'CELERYD_NODES="w1 w2"\nCELERY_BIN=/v/celery\nCELERY_APP=p\nCELERYD_PID_FILE=/run/%n.pid\n'
        'CELERYD_LOG_FILE=/log/%n%I.log\nCELERYD_LOG_LEVEL=INFO\nCELERYD_OPTS=""\n'
    )
    written = toml_of([source(text, path, {"/etc/conf.d/celery": conf})])
    cut = re.sub("(?m)^env_file.*$", "", written)  # no file is read here
    config = parse_config(cut, "multi.toml", {}, lambda _: b"")
    found = {node.short: node for node in expand_words([], config=config).nodes}
    real = {name: {**facts(found[name], wanted)} for name, wanted in nodes.items()}
    for each in real.values():
        if isinstance(env := each.get("env"), dict):
            env.pop("SPT_NOENV", None)
    assert real == nodes
    assert found.keys() == nodes.keys()
    assert [remark for remark in remarks if remark not in written] == []


USERS = [
    ("[program:a]\ncommand=x\nuser=u\n[program:b]\ncommand=x\nuser=v\n", "# users u, v: 'multi install' needs"),
    (
        "[program:a]\ncommand=x\nnumprocs=2\nprocess_name=%(process_num)d\nuser=u\n[program:b]\ncommand=x\n",
        "# users u, root: ",
    ),
    ("[program:a]\ncommand=x\nnumprocs=2\nprocess_name=%(process_num)d\nuser=u\n", None),
    ("[program:a]\ncommand=x\n[program:b]\ncommand=x\n", None),
]


@pytest.mark.parametrize(("text", "remark"), USERS)
def test_several_users(text: str, remark: str | None) -> None:
    """Nodes of several users cannot be installed with their pidfiles in one directory: a comment says so."""
    written, _ = made(text)
    assert ("# users " in written) is (remark is not None)
    assert (remark or "") in written


def test_groups_are_numbered_by_themselves() -> None:
    """A node alone is no group: the first group of a script is `workers`, wherever it is."""
    line = "celery multi start {} -A p\n"
    written, _ = made("".join(map(line.format, ("solo", "2", "a b"))), "x.sh")
    assert re.findall(r"^\[(.*)\]$", written, re.MULTILINE) == ["groups.workers", "groups.workers-2", "nodes.solo"]
