"""The System V init scripts, run as root by several shells, with real Celery workers as an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from private_machine import (
    BIN,
    CHECKOUT,
    PATIENCE,
    PROJECT,
    STRANGER,
    STRANGER_ID,
    USER,
    USER_ID,
    Done,
    Host,
    machine,
    need,
)
from real import until

SCRIPTS = {"multid": "scripts/init.d/multid", "multibeat": "scripts/init.d/multibeat"}
SHELLS = ("dash", "busybox sh", "bash")
WORKERS = f"""\
CELERYD_NODES="w1 w2"
CELERY_BIN="{BIN}/celery"
CELERY_APP="tasks"
CELERYD_CHDIR="{PROJECT}/"
CELERYD_OPTS="-O fair -c 1 -c:w2 2"
CELERYD_LOG_FILE="/var/log/celery/%n%I.log"
CELERYD_PID_FILE="/var/run/celery/%n.pid"
CELERYD_USER="celery"
CELERYD_GROUP="celery"
CELERY_CREATE_DIRS=1
"""
# Workers that notice a stop within seconds: with this broker, a prefork pool takes longer to end than to start.
QUICK = WORKERS.replace("-O fair", "-O fair -P solo --without-gossip --without-mingle --without-heartbeat")
RECORDER = "/srv/bin/multi"
RECORDED = "/srv/recorded"
VERBS = (
    *("start", "stop", "restart", "try-restart", "reload", "force-reload", "graceful", "kill", "status"),
    *("dryrun", "create-paths", "check-paths"),
)


_TAKEN = [SHELLS[0], *(pytest.param(name, marks=pytest.mark.engine) for name in SHELLS[1:])]


@pytest.fixture(params=_TAKEN)
def shell(request: pytest.FixtureRequest) -> str:
    """Give one of the shells that may be /bin/sh somewhere; all but the first are engines."""
    name = str(request.param)
    need(name.split(maxsplit=1)[0])
    return name


@pytest.fixture
def host() -> Iterator[Host]:
    """Give a machine on which both scripts are installed, and nothing is configured."""
    need("unshare", "nsenter", "setpriv", "su")
    with machine() as made:
        for name, source in SCRIPTS.items():
            made.install(source, f"/etc/init.d/{name}")
        yield made


def service(host: Host, verb: str, *rest: str, shell: str = "sh", name: str = "multid", **how: str) -> Done:
    """Run the script of a service."""
    return host.run(*shell.split(), f"/etc/init.d/{name}", *([verb] if verb else []), *rest, user=how.get("user"))


def pids(host: Host) -> dict[str, int]:
    """Short name -> pid, of the pidfiles that are there."""
    folder = host.path("/run/celery")
    return {path.stem: int(path.read_text()) for path in folder.glob("*.pid")} if folder.exists() else {}


# --- the whole life, on real workers -------------------------------------------------------------------


def test_life_of_the_workers(host: Host, shell: str) -> None:
    """Two real workers of the unprivileged user live by the verbs, with the configuration of Celery's own script."""
    host.app()
    host.write("/etc/default/celeryd", WORKERS if shell == "bash" else QUICK)

    def say(verb: str, *rest: str) -> Done:
        return service(host, verb, *rest, shell=shell)

    say("status").exits(3)
    say("try-restart").ok()
    say("force-reload").ok()
    say("reload").exits(7)
    say("graceful").exits(7)
    say("stop").ok()
    assert not host.exists("/run/celery"), "what is not running is not touched"

    started = say("start").ok()
    first = pids(host)
    assert sorted(first) == ["w1", "w2"]
    assert started.out.count("started") == 2
    for pid in first.values():
        found = host.status(pid)
        assert found["Uid"].split() == [str(USER_ID)] * 4
        assert found["Gid"].split() == [str(USER_ID)] * 4
    assert host.path("/run/celery").stat().st_uid == USER_ID
    assert host.path("/run/celery").stat().st_mode & 0o7777 == 0o2755
    say("status").ok()
    say("start").ok()
    assert pids(host) == first, "what runs is left alone"
    answer = host.shell(f"cd {PROJECT} && {BIN}/python drive.py call add 2 3", user=USER).ok()
    assert "= 5, by w" in answer.out

    say("restart").ok()
    second = pids(host)
    assert sorted(second) == ["w1", "w2"]
    assert not set(second.values()) & set(first.values())
    assert not any(host.alive(pid) for pid in first.values())

    host.run("kill", "-KILL", str(second["w1"])).ok()
    until(lambda: not host.alive(second["w1"]), "w1 is dead")
    say("status").exits(1)
    say("start").ok()
    assert pids(host)["w1"] != second["w1"]
    assert pids(host)["w2"] == second["w2"], "the other one was never touched"

    say("stop").ok()
    assert pids(host) == {}
    assert host.processes() == []
    say("status").exits(3)


def test_new_processes_and_the_same_process(host: Host) -> None:
    """try-restart and force-reload make new processes, with the options of now; reload keeps them; kill ends them."""
    host.app()
    host.write("/etc/default/celeryd", QUICK.replace("w1 w2", "w1"))
    service(host, "start", "-Q mail").ok()
    first = pids(host)["w1"]
    assert ["-Q", "mail"] in pairs(host)
    ready = host.read("/var/log/celery/w1.log").count(" ready.")
    service(host, "reload").ok()
    until(
        lambda: host.read("/var/log/celery/w1.log").count(" ready.") > ready,
        "the worker has started again in place",
        seconds=60,
    )
    assert pids(host)["w1"] == first
    service(host, "try-restart", "-Q short").ok()
    second = pids(host)["w1"]
    assert second != first
    assert ["-Q", "short"] in pairs(host)
    assert ["-Q", "mail"] not in pairs(host)
    service(host, "force-reload", "-Q short").ok()
    assert pids(host)["w1"] != second
    service(host, "kill").ok()
    assert host.processes() == []
    service(host, "status").exits(3)


def pairs(host: Host) -> list[list[str]]:
    """Every two words that stand side by side in a command of the workers' user."""
    return [words[at : at + 2] for words in host.processes() for at in range(len(words))]


def test_life_of_beat(host: Host, shell: str) -> None:
    """Beat lives by the same verbs, from the files that Celery's script for it reads: the workers', then its own."""
    host.app()
    host.write("/etc/default/celeryd", WORKERS)
    host.write("/etc/default/celerybeat", 'CELERYBEAT_OPTS="--schedule=/var/run/celery/schedule --max-interval=1"\n')

    def say(verb: str) -> Done:
        return service(host, verb, shell=shell, name="multibeat")

    say("status").exits(3)
    say("try-restart").ok()
    say("reload").exits(3)
    say("start").ok()
    (pid,) = pids(host).values()
    assert host.exists("/run/celery/beat.pid")
    assert host.status(pid)["Uid"].split() == [str(USER_ID)] * 4
    until(lambda: list(host.path("/run/celery").glob("schedule*")), "beat has made its schedule where it was told")
    say("status").ok()
    say("force-reload").ok()
    assert pids(host)["beat"] != pid
    say("stop").ok()
    assert host.processes() == []
    say("status").exits(3)


def test_a_percent_sign_is_nothing_special_to_beat(host: Host, shell: str) -> None:
    """Celery's beat takes its paths as they are, so a pidfile that it wrote to `%n.pid` is found there."""
    host.app()
    host.write("/etc/default/celeryd", WORKERS)
    paths = "CELERYBEAT_PID_FILE=/var/run/celery/%n.pid CELERYBEAT_LOG_FILE=/var/log/celery/%n%I.log"
    host.write("/etc/default/celerybeat", f'{paths}\nCELERYBEAT_OPTS="--schedule=/var/run/celery/schedule"\n')
    service(host, "start", shell=shell, name="multibeat").ok()
    assert sorted(pids(host)) == ["%n"]
    assert host.exists("/var/log/celery/%n%I.log")
    service(host, "stop", shell=shell, name="multibeat").ok()
    assert host.processes() == []


def test_a_worker_that_cannot_start_is_a_failure_that_says_why(host: Host) -> None:
    """G4: an app that does not import makes start exit 1, with the worker's own words; the script does not say OK."""
    host.app()
    host.write("/etc/default/celeryd", WORKERS)
    host.write(f"{PROJECT}/tasks.py", "import there_is_no_such_module\n")
    done = service(host, "start").exits(1)
    assert "No module named 'there_is_no_such_module'" in done.err
    assert host.processes() == []


# --- exit codes ------------------------------------------------------------------------------------------


EXIT_CODES = (
    ("", "", 2, "usage:"),
    ("", "explode", 2, "usage:"),
    ("CELERYD_USER=nobody-here", "start", 6, "there is no user nobody-here"),
    ("CELERYD_USER=nobody-here", "status", 4, "there is no user nobody-here"),
    ("CELERYD_SU=false", "start", 6, "cannot become celery"),
    ("CELERYD_SU=false", "restart", 6, "cannot become celery"),
    ("CELERYD_SU=false", "try-restart", 6, "cannot become celery"),
    ("CELERYD_SU=false", "reload", 6, "cannot become celery"),
    ("CELERYD_SU=false", "status", 4, "cannot become celery"),
    ("CELERYD_SU=/nowhere/su", "stop", 6, "cannot become celery"),
    ("CELERYD_GROUP=no-such-group", "stop", 6, "cannot become celery"),
    ("CELERYD_OPTS='-c:9 4'", "start", 6, "-c:9"),
    ("CELERYD_OPTS='-c:9 4'", "status", 4, "-c:9"),
    ("CELERYD_ULIMIT='-n nonsense'", "start", 6, "CELERYD_ULIMIT='-n nonsense'"),
    ("CELERY_BIN=/nowhere/celery", "start", 5, "Celery is not installed"),
    ("CELERY_BIN=/nowhere/celery", "try-restart", 5, "Celery is not installed"),
    ("CELERY_BIN=/nowhere/celery", "status", 4, "Celery is not installed"),
    ("CELERY_BIN=/bin/true", "start", 5, "multi is not installed"),
    ("CELERY_BIN= ; PATH=/usr/bin", "stop", 5, "multi is not installed"),
    ("CELERYD_PID_FILE=/etc/nope/%n.pid CELERY_CREATE_DIRS=0", "start", 4, "/etc/nope"),
    ("if then", "start", 6, "is no shell script that can be read"),
    ("if then", "status", 4, "is no shell script that can be read"),
)


def test_exit_codes(host: Host, shell: str) -> None:
    """The exit codes are those of the Linux Standard Base, and the message says what is wrong."""
    host.app()
    for config, verb, code, says in EXIT_CODES:
        host.write("/etc/default/celeryd", f"{WORKERS}\n{config}\n")
        done = service(host, verb, shell=shell).exits(code)
        assert says in done.err, (config, done)
        assert host.processes() == [], config


def test_a_directory_that_the_user_may_not_enter(host: Host, shell: str) -> None:
    """A Celery, or its Python, in a directory that is closed to the user is named, not called missing."""
    host.app()
    host.write("/srv/closed/bin/celery", "#!/bin/sh\n", mode=0o755)
    host.write("/srv/open/bin/celery", "#!/srv/closed/bin/celery\n", mode=0o755)
    host.write("/srv/open/bin/multi", "#!/srv/closed/bin/celery\n", mode=0o755)
    host.path("/srv/closed").chmod(0o700)
    for program in ("/srv/closed/bin/celery", "/srv/open/bin/celery"):
        host.write("/etc/default/celeryd", f"{WORKERS}\nCELERY_BIN={program}\n")
        done = service(host, "start", shell=shell).exits(5)
        assert "celery may not enter /srv/closed, where" in done.err, done
        assert "installed" not in done.err.replace("install both", ""), done


def test_a_limit_that_the_user_may_not_have(host: Host, shell: str) -> None:
    """G4: no worker runs with a lower limit than CELERYD_ULIMIT says, where su takes away what root has set."""
    host.write("/srv/bin/su", '#!/bin/sh\nulimit -n 100\nexec su -s /bin/sh "$@"\n', mode=0o755)
    host.write("/etc/default/celeryd", f"{WORKERS}\nCELERYD_SU=/srv/bin/su\nCELERYD_ULIMIT='-n 5000'\n")
    done = service(host, "start", shell=shell).exits(6)
    assert "celery cannot have the limit '-n 5000'" in done.err
    assert host.processes() == []


def test_too_many_words_are_a_mistake(host: Host, shell: str) -> None:
    """More options of the worker are one argument; more arguments are refused, not dropped."""
    host.write("/etc/default/celeryd", WORKERS)
    assert "quote them" in service(host, "start", "-c", "4", shell=shell).exits(2).err


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_configuration(host: Host, shell: str, name: str) -> None:
    """Where nothing says what to run, nothing is run: exit 6, status 4."""
    known = {"multid": "celeryd", "multibeat": "celerybeat"}[name]
    assert f"there is no /etc/default/{known}" in service(host, "start", shell=shell, name=name).exits(6).err
    service(host, "status", shell=shell, name=name).exits(4)


def test_who_may_do_what(host: Host, shell: str) -> None:
    """Root and the workers' user may do everything; anybody else may look, as far as the system lets them."""
    host.app()
    host.write("/etc/default/celeryd", WORKERS)
    assert "only root and celery" in service(host, "start", shell=shell, user=STRANGER).exits(4).err
    service(host, "status", shell=shell, user=STRANGER).exits(3)
    service(host, "create-paths", shell=shell).ok()
    service(host, "start", shell=shell, user=USER).ok()
    service(host, "kill", shell=shell, user=USER).ok()
    host.path("/etc/default/celeryd").chmod(0o640)
    assert "cannot read /etc/default/celeryd" in service(host, "status", shell=shell, user=STRANGER).exits(4).err


# --- what root believes ----------------------------------------------------------------------------------


def _owned_by_another(host: Host) -> str:
    os.chown(host.path("/etc/default/celeryd"), STRANGER_ID, 0)
    return f"belongs to uid {STRANGER_ID}"


def _writable(mode: int) -> object:
    def change(host: Host) -> str:
        host.path("/etc/default/celeryd").chmod(mode)
        return "can be written by others"

    return change


def _in_a_directory_of_another(host: Host) -> str:
    os.chown(host.path("/etc/default"), STRANGER_ID, 0)
    return f"/etc/default belongs to uid {STRANGER_ID}"


def _in_a_writable_directory(host: Host) -> str:
    host.path("/etc/default").chmod(0o775)
    return "/etc/default can be written by others"


def _a_link_into_a_directory_of_another(host: Host) -> str:
    host.app()
    host.write(f"{PROJECT}/celeryd", host.read("/etc/default/celeryd"))
    host.path("/etc/default/celeryd").unlink()
    host.path("/etc/default/celeryd").symlink_to(f"{PROJECT}/celeryd")
    return f"{PROJECT} belongs to uid {USER_ID}"


def _a_link_through_a_directory_of_another(host: Host) -> str:
    host.app()
    host.write("/srv/roots/celeryd", host.read("/etc/default/celeryd"))
    host.path(f"{PROJECT}/way").symlink_to("/srv/roots")
    os.chown(host.path(f"{PROJECT}/way"), USER_ID, USER_ID, follow_symlinks=False)
    host.path("/etc/default/celeryd").unlink()
    host.path("/etc/default/celeryd").symlink_to(f"{PROJECT}/way/celeryd")
    return f"{PROJECT}/way belongs to uid {USER_ID}"


@pytest.mark.parametrize(
    "plant",
    [
        _owned_by_another,
        _writable(0o664),
        _writable(0o646),
        _in_a_directory_of_another,
        _in_a_writable_directory,
        _a_link_into_a_directory_of_another,
        _a_link_through_a_directory_of_another,
    ],
)
def test_a_configuration_that_another_user_could_have_written_is_refused(host: Host, shell: str, plant: object) -> None:
    """G8: nothing in it is run, the reason is said, and the exit code is 6."""
    assert callable(plant)
    host.write("/etc/default/celeryd", WORKERS + "touch /srv/was-run\n")
    why = plant(host)
    done = service(host, "start", shell=shell).exits(6)
    assert why in done.err
    assert "chown root" in done.err
    assert not host.exists("/srv/was-run")


def test_a_configuration_that_root_linked_is_believed(host: Host, shell: str) -> None:
    """A link of root's to a file of root's, by a relative way, is as good as the file."""
    host.write("/etc/deploy/celeryd", WORKERS + "touch /srv/was-run\n")
    host.path("/etc/default/celeryd").symlink_to("../deploy/celeryd")
    service(host, "check-paths", shell=shell).ok()
    assert host.exists("/srv/was-run")


def record_everything(host: Host, *where: str) -> None:
    """Programs of the workers' user that write down who runs them, with which words and what else they have."""
    host.write(RECORDED, "", owner=USER_ID, mode=0o666)
    text = f"""\
#!/bin/sh
{{
    printf '%s' "uid=$(/usr/bin/id -u) gid=$(/usr/bin/id -g) nofile=$(ulimit -n) $0"
    for word; do printf ' [%s]' "$word"; done
    printf ' DJANGO=%s PATH=%s\\n' "$DJANGO_SETTINGS_MODULE" "$PATH"
}} >>{RECORDED}
case "$*" in *--json*) echo '[{{"state": "running"}}]' ;; esac
case "$1" in expand) shift; echo "$1" | sed "s/%n/$2/" ;; esac
exit "$(cat /srv/exit 2>/dev/null || echo 0)"
"""
    for path in where:
        host.write(path, text, mode=0o755, owner=USER_ID)
        os.chown(host.path(path).parent, USER_ID, USER_ID)


def recorded(host: Host) -> list[str]:
    """What the programs wrote down since the last look."""
    lines = host.read(RECORDED).splitlines()
    host.path(RECORDED).write_text("")
    return lines


def test_no_code_of_the_user_is_run_by_root(host: Host, shell: str) -> None:
    """G8: an environment that belongs to the workers' user, on PATH too, is run by every verb as that user only."""
    names = (
        "multi",
        "celery",
        "python",
        "id",
        "ls",
        "sed",
        "grep",
        "su",
        "mkdir",
        "chown",
        "uname",
        "readlink",
        "sh",
        "runuser",
    )
    record_everything(host, *(f"/srv/venv/bin/{name}" for name in names))
    environment = f"{WORKERS}\nCELERY_BIN=/srv/venv/bin/celery\nPATH=/srv/venv/bin:$PATH\nexport PATH\n"
    host.write("/etc/default/celeryd", environment)
    for name in SCRIPTS:
        for verb in VERBS:
            service(host, verb, shell=shell, name=name)
    lines = recorded(host)
    assert len(lines) > 2 * len(VERBS) - 6, "the environment was in use"
    assert {line.split()[0] for line in lines} == {f"uid={USER_ID}"}
    host.write("/etc/default/celeryd", environment.replace("CELERY_BIN=/srv/venv/bin/celery", "CELERY_BIN="))
    service(host, "start", shell=shell)
    assert {line.split()[0] for line in recorded(host)} == {f"uid={USER_ID}"}, "also when multi is found on PATH"


def test_a_preloaded_library_is_for_the_workers_only(host: Host, shell: str) -> None:
    """G8: a library that the configuration preloads is loaded by no program of root's, and by multi."""
    record_everything(host, RECORDER)
    host.write("/etc/default/celeryd", f"{WORKERS}\nMULTI_BIN={RECORDER}\nexport LD_PRELOAD=/srv/proj/no-such.so\n")
    assert "no-such.so" not in service(host, "check-paths", shell=shell).ok().err
    assert "no-such.so" in service(host, "start", shell=shell).ok().err


@pytest.mark.parametrize("what", ["CELERY_BIN", "CELERYD_CHDIR", "MULTI_BIN"])
def test_a_service_of_root_runs_nothing_of_others(host: Host, shell: str, what: str) -> None:
    """G8: with CELERYD_USER=root, an environment or a project of another user is refused."""
    host.app()
    record_everything(host, "/srv/venv/bin/multi", "/srv/venv/bin/celery")
    settings = {"CELERY_BIN": "/bin/true", "MULTI_BIN": "/bin/true", "CELERYD_CHDIR": "/"}
    host.write("/etc/default/celeryd", _settings(settings, CELERYD_USER="root", CELERY_APP="tasks"))
    service(host, "start", shell=shell).ok()
    settings[what] = {"CELERYD_CHDIR": PROJECT}.get(what, "/srv/venv/bin/celery")
    host.write("/etc/default/celeryd", _settings(settings, CELERYD_USER="root", CELERY_APP="tasks"))
    assert "would run as root" in service(host, "start", shell=shell).exits(6).err
    assert recorded(host) == []


def test_g8_a_link_does_not_lead_a_service_of_root_to_programs_of_others(host: Host, shell: str) -> None:
    """G8: with CELERYD_USER=root, the multi and the Python beside what CELERY_BIN links to must be root's, too."""
    for what in ("multi", "python"):
        record_everything(host, f"/srv/{what}/bin/{what}")
        host.shell(
            f"cd /srv/{what}/bin; chown root .; cp /bin/true celery; ln -s /srv/{what}/bin/celery /srv/{what}"
        ).ok()
        settings = {"CELERY_BIN": f"/srv/{what}/celery", "CELERYD_USER": "root", "CELERY_APP": "tasks"}
        host.write("/etc/default/celeryd", _settings(settings))
        done = service(host, "start", shell=shell).exits(6)
        assert f"/srv/{what}/bin/{what} would run as root" in done.err


def _settings(settings: dict[str, str], **more: str) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in {**settings, **more}.items())


def test_where_and_with_which_home(host: Host, shell: str) -> None:
    """As with Celery's script: in the root directory, or at home after a login; HOME is the user's, root's too."""
    passwd = host.path("/etc/passwd")
    passwd.write_text(passwd.read_text().replace(f":{USER_ID}::/nonexistent:", f":{USER_ID}::/srv/home:"))
    host.write("/srv/home/.profile", "")
    program = "/srv/roots/multi"
    host.write(program, f'#!/bin/sh\necho "$(id -un) in $(pwd), HOME=$HOME" >>{RECORDED}\n', mode=0o755)
    settings = {"CELERY_BIN": "", "MULTI_BIN": program, "CELERY_APP": "tasks"}
    for user, arguments, expected in (
        (USER, "", f"{USER} in /, HOME=/srv/home"),
        (USER, "-s /bin/sh -l", f"{USER} in /srv/home, HOME=/srv/home"),
        (USER, "-s /bin/sh --login", f"{USER} in /srv/home, HOME=/srv/home"),
        ("root", "", "root in /, HOME=/root"),
    ):
        host.write(RECORDED, "", mode=0o666)
        more = {"CELERYD_USER": user, "CELERYD_SU_ARGS": arguments}
        host.write("/etc/default/celeryd", _settings(settings, **more))
        service(host, "stop", shell=shell).ok()
        assert recorded(host) == [expected], arguments


def test_directories_are_not_made_through_what_others_planted(host: Host, shell: str) -> None:
    """G8: below a directory of the workers' user that user makes directories; a planted link gains nothing."""
    host.app()
    host.write("/etc/precious/file", "root's\n")
    host.path(f"{PROJECT}/run").symlink_to("/etc/precious")
    host.write(
        "/etc/default/celeryd",
        f"{WORKERS}\nCELERYD_PID_FILE={PROJECT}/run/deep/%n.pid\nCELERYD_LOG_FILE={PROJECT}/log/%n.log\n",
    )
    assert "cannot make the directory" in service(host, "create-paths", shell=shell).exits(4).err
    assert host.path("/etc/precious").stat().st_uid == 0
    assert not host.exists("/etc/precious/deep")
    assert host.path(f"{PROJECT}/log").stat().st_uid == USER_ID


def test_directories_are_not_made_on_the_word_of_the_user(host: Host, shell: str) -> None:
    """G8: what a template expands to is said by a program of the workers' user, so root makes nothing of it."""
    host.write(RECORDER, "#!/bin/sh\necho /etc/systemd/system/any.service.d\n", mode=0o755, owner=USER_ID)
    host.write("/etc/default/celeryd", f"{WORKERS}\nMULTI_BIN={RECORDER}\nCELERYD_PID_FILE=/run/%n/w.pid\n")
    assert "celery cannot make the directory" in service(host, "create-paths", shell=shell).exits(4).err
    assert not host.exists("/etc/systemd/system/any.service.d")


def test_directories(host: Host, shell: str) -> None:
    """create-paths makes both directories for the user, check-paths those that settings name; parents stay root's."""
    record_everything(host, RECORDER)
    places = "CELERYD_PID_FILE=/run/deep/%n/w.pid\nCELERYD_LOG_FILE=/var/log/deeper/still/w.log\n"
    base = f"{WORKERS}\nMULTI_BIN={RECORDER}\nCELERYD_NODES=w1\nCELERY_CREATE_DIRS=0\n{places}"
    host.write("/etc/default/celeryd", base)
    service(host, "check-paths", shell=shell).ok()
    assert not host.exists("/run/deep")
    host.write("/etc/default/celeryd", f"{base}\nCELERY_CREATE_RUNDIR=1\n")
    service(host, "check-paths", shell=shell).ok()
    assert host.path("/run").stat().st_uid == 0
    assert host.path("/run/deep").stat().st_uid == USER_ID
    assert host.path("/run/deep/w1").stat().st_uid == USER_ID
    assert not host.exists("/var/log/deeper")
    service(host, "create-paths", shell=shell).ok()
    assert host.path("/var/log/deeper").stat().st_uid == 0
    made = host.path("/var/log/deeper/still").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (USER_ID, USER_ID, 0o2755)


# --- every variable ----------------------------------------------------------------------------------------


VARIABLES = (
    ("", "start", "start] [w1] [w2] [--keep-unready] [--workdir=/srv/proj/] [--pidfile=/var/run/celery/%n.pid]"),
    ("", "start", "[--logfile=/var/log/celery/%n%I.log] [--loglevel=INFO]"),
    ("", "start", "[--loglevel=INFO] [--app=tasks] [-O] [fair] [-c] [1] [-c:w2] [2]"),
    ("", "stop", "stopwait] [w1] [w2]"),
    ("", "kill", "kill] [w1]"),
    ("", "restart", "restart] [w1] [w2] [--keep-unready]"),
    ("", "dryrun", "start] [w1] [w2] [--dry-run] [--verbose]"),
    ("CELERYD_NODES=3", "start", "start] [3] [--keep-unready]"),
    ("CELERYD_NODES='a\n\tb\n'", "start", "start] [a] [b] [--keep-unready]"),
    ("CELERYD_NODES=", "start", "start] [celery] [--keep-unready]"),
    ("CELERY_APP=", "start", "[--loglevel=INFO] [-O]"),
    ("CELERYD_CHDIR=", "start", "[--keep-unready] [--pidfile"),
    ("CELERYD_CHDIR='/srv/a b'", "start", "[--workdir=/srv/a b]"),
    ("CELERYD_CHDIR=/srv/o\\'clock", "start", "[--workdir=/srv/o'clock]"),
    ("CELERYD_OPTS='-Q \"a b\" -c\n 4'", "start", "[-Q] [a b] [-c] [4]"),
    ("CELERYD_OPTS='-Q a*b'", "start", "[-Q] [a*b]"),
    ("DAEMON_OPTS=--umask=027", "start", "[--umask=027] [-O]"),
    ("CELERYD_LOG_LEVEL=DEBUG", "start", "[--loglevel=DEBUG]"),
    ("CELERYD_LOGLEVEL=ERROR", "start", "[--loglevel=ERROR]"),
    ("CELERYD_PID_FILE=", "start", "[--pidfile=/var/run/celery/%n.pid]"),
    ("CELERYD_LOG_FILE=", "start", "[--logfile=/var/log/celery/%n%I.log]"),
    ("CELERYD_ULIMIT='-n 77'", "start", "nofile=77 "),
    ("CELERYD_ULIMIT='-n 5000'", "start", "nofile=5000 "),  # pam_limits resets a soft limit above 1024
    ("CELERYD_ULIMIT='-n 5000' CELERYD_SU=su", "restart", "nofile=5000 "),
    ("CELERYD_USER=mallory CELERYD_GROUP=", "start", f"uid={STRANGER_ID} gid={STRANGER_ID} "),
    ("CELERYD_GROUP=daemon", "start", f"uid={USER_ID} gid=1 "),
    ("CELERYD_GROUP=", "start", f"uid={USER_ID} gid={USER_ID} "),
    ("export DJANGO_SETTINGS_MODULE=proj.settings", "start", "DJANGO=proj.settings"),
    ("export PATH=/opt/oracle/bin:$PATH", "start", "PATH=/opt/oracle/bin:/usr/local/sbin:"),
    ("CELERYD_SU_ARGS='-s /bin/sh -l' DJANGO_SETTINGS_MODULE=x; export DJANGO_SETTINGS_MODULE", "start", "DJANGO= "),
    ("CELERY_SU=/srv/bin/su", "start", "SU"),
    ("CELERYD_SU=su", "start", f"uid={USER_ID} gid={USER_ID} "),
    ("CELERYD_SU=su CELERYD_GROUP=daemon", "start", f"uid={USER_ID} gid=1 "),
    ("CELERYD_SU=/srv/bin/su", "start", "SU"),
)


def test_every_variable(host: Host, shell: str) -> None:
    """Each variable of Celery's script arrives as it does there, and words with blanks and quotes arrive whole."""
    record_everything(host, RECORDER)
    host.write("/srv/bin/su", f'#!/bin/sh\necho "SU $*" >>{RECORDED}\nexec su -s /bin/sh "$@"\n', mode=0o755)
    for config, verb, expected in VARIABLES:
        host.write("/etc/default/celeryd", f"{WORKERS}\nMULTI_BIN={RECORDER}\n{config}\n")
        service(host, verb, shell=shell).ok()
        assert expected in "\n".join(recorded(host)).replace(f" [--executable={BIN}/python]", ""), config


VARIABLES_OF_BEAT = (
    ("", "start] [beat] [--keep-unready] [--preset=celery-beat] [--workdir=/srv/proj/]"),
    ("", "[--pidfile=/var/run/celery/beat.pid] [--logfile=/var/log/celery/beat.log] [--loglevel=INFO]"),
    ("", "[--loglevel=INFO] [--app=tasks] DJANGO"),
    ("CELERYBEAT=/srv/beat/celery", f"{RECORDER} [start] [beat] [--executable=/srv/beat/python] [--"),
    ("CELERYBEAT_OPTS='-s /srv/x -S \"a b\"'", "[-s] [/srv/x] [-S] [a b]"),
    ("CELERYBEAT_LOG_LEVEL=DEBUG", "[--loglevel=DEBUG]"),
    ("CELERYBEAT_LOGLEVEL=ERROR", "[--loglevel=ERROR]"),
    ("CELERYBEAT_PID_FILE=/run/%n.pid", "[--pidfile=/run/%%%%n.pid]"),
    ("CELERYBEAT_LOG_FILE=/var/log/b.log", "[--logfile=/var/log/b.log]"),
    ("CELERYBEAT_CHDIR=/srv/beat", "[--workdir=/srv/beat]"),
    ("CELERYBEAT_USER=mallory", f"uid={STRANGER_ID} gid={STRANGER_ID} "),
    ("CELERYBEAT_GROUP=daemon", f"uid={USER_ID} gid=1 "),
    ("CELERYBEAT_SU=/srv/bin/su", "SU"),
)


def test_every_variable_of_beat(host: Host, shell: str) -> None:
    """Beat's own variables count, and where there is none the workers' do."""
    record_everything(host, RECORDER, "/srv/beat/celery", "/srv/beat/python")
    host.write("/srv/bin/su", f'#!/bin/sh\necho "SU $*" >>{RECORDED}\nexec su -s /bin/sh "$@"\n', mode=0o755)
    host.write("/etc/default/celeryd", f"{WORKERS}\nMULTI_BIN={RECORDER}\n")
    for config, expected in VARIABLES_OF_BEAT:
        host.write("/etc/default/celerybeat", f"{config}\n")
        service(host, "start", shell=shell, name="multibeat").ok()
        assert expected in "\n".join(recorded(host)).replace(f" [--executable={BIN}/python]", ""), config


def test_exit_codes_of_multi_are_translated(host: Host, shell: str) -> None:
    """What multi says in its own exit codes is said in those of the Linux Standard Base."""
    record_everything(host, RECORDER)
    host.write("/etc/default/celeryd", f"{WORKERS}\nMULTI_BIN={RECORDER}\n")
    for code, expected in {0: 0, 1: 1, 2: 6, 75: 1, 77: 4, 130: 1}.items():
        host.write("/srv/exit", str(code))
        for verb in ("start", "stop", "restart", "kill"):
            service(host, verb, shell=shell).exits(expected)


# --- names and places ---------------------------------------------------------------------------------------


def test_which_configuration_a_name_reads(host: Host, shell: str) -> None:
    """A copy, a link and a run level's link read the file of their name; multid reads celeryd's where it has none."""
    record_everything(host, RECORDER)
    for name in ("celeryd", "little-worker"):
        host.write(f"/etc/default/{name}", f"{WORKERS}\nMULTI_BIN={RECORDER}\nCELERYD_NODES=of-{name}\n")
    host.install(SCRIPTS["multid"], "/etc/init.d/little-worker")
    host.path("/etc/init.d/celeryd").symlink_to("multid")
    host.path("/etc/rc2.d").mkdir(exist_ok=True)
    host.path("/etc/rc2.d/S20little-worker").symlink_to("../init.d/little-worker")

    def read_by(path: str) -> str:
        host.run(*shell.split(), path, "start").ok()
        (line,) = recorded(host)
        return re.search(r"\[start\] \[of-([a-z-]*)\]", line)[1]  # type: ignore[index] # no match is a failure

    assert read_by("/etc/init.d/multid") == "celeryd"
    assert read_by("/etc/init.d/celeryd") == "celeryd"
    assert read_by("/etc/init.d/little-worker") == "little-worker"
    assert read_by("/etc/rc2.d/S20little-worker") == "little-worker"
    host.write("/etc/default/multid", f"{WORKERS}\nMULTI_BIN={RECORDER}\nCELERYD_NODES=of-multid\n")
    assert read_by("/etc/init.d/multid") == "multid"
    assert read_by("/etc/init.d/celeryd") == "celeryd"


def test_the_configuration_can_be_named(host: Host) -> None:
    """CELERY_DEFAULTS in the environment names another file, as for Celery's script."""
    record_everything(host, RECORDER)
    host.write("/etc/other", f"{WORKERS}\nMULTI_BIN={RECORDER}\nCELERYD_NODES=other\n")
    host.run("sh", "/etc/init.d/multid", "start", env={"CELERY_DEFAULTS": "/etc/other"}).ok()
    assert "[start] [other]" in recorded(host)[0]


def test_users_and_groups_by_number(host: Host, shell: str) -> None:
    """CELERYD_USER and CELERYD_GROUP may be numbers, although su and runuser know names only."""
    host.app()
    for number in (USER_ID, STRANGER_ID):
        host.write("/etc/default/celeryd", f"{QUICK}\nCELERYD_NODES=w1 CELERYD_USER={USER_ID} CELERYD_GROUP={number}\n")
        service(host, "start", shell=shell).ok()
        found = host.status(pids(host)["w1"])
        assert (found["Uid"].split()[0], found["Gid"].split()[0]) == (str(USER_ID), str(number))
        service(host, "kill", shell=shell).ok()
        host.shell("rm -r /run/celery /var/log/celery").ok()  # the next group shall have them


def test_which_multi_and_which_python(host: Host, shell: str) -> None:
    """The multi beside Celery is used, or else the one on PATH, told which Python has Celery; MULTI_BIN decides.

    A link to Celery means the environment that it leads to.
    """
    record_everything(
        host,
        *(f"/srv/proj/venv/bin/{name}" for name in ("multi", "celery", "python")),
        *(f"/srv/bare/{name}" for name in ("celery", "python3")),
        "/srv/path/multi",
        RECORDER,
    )
    there = "export PATH=/srv/path:$PATH"
    host.shell("mkdir /srv/links; ln -s ../proj/venv/bin/celery /srv/links").ok()
    host.shell("mkdir /srv/both; ln -s ../bare/celery ../path/multi /srv/both; ln -s /bin/true /srv/both/python").ok()
    host.shell("mkdir -p /srv/env/bin; cd /srv/env; touch pyvenv.cfg; ln -s /srv/path/multi /srv/bare/python3 bin").ok()
    for config, used in (
        ("CELERY_BIN=/srv/links/celery", "/srv/proj/venv/bin/multi [start] [w1] [w2] [--keep"),
        (
            f"CELERY_BIN=/srv/links/celery MULTI_BIN={RECORDER}",
            f"{RECORDER} [start] [w1] [w2] [--executable=/srv/proj/venv/bin/python] [--",
        ),
        ("CELERY_BIN='/srv/env/bin/python3 -m celery'", "/srv/env/bin/multi [start] [w1] [w2] [--keep"),
        ("CELERY_BIN=/srv/both/celery", "/srv/both/multi [start] [w1] [w2] [--executable=/srv/bare/python3] [--"),
        ("CELERY_BIN=/srv/proj/venv/bin/celery", "/srv/proj/venv/bin/multi [start] [w1] [w2] [--keep"),
        ("CELERY_BIN='/srv/proj/venv/bin/python -m celery'", "/srv/proj/venv/bin/multi [start] [w1] [w2] [--keep"),
        ("CELERY_BIN=venv/bin/celery", "/srv/proj/venv/bin/multi [start] [w1] [w2] [--keep"),
        (
            f"CELERY_BIN=/srv/bare/celery; {there}",
            "/srv/path/multi [start] [w1] [w2] [--executable=/srv/bare/python3] [--",
        ),
        (f"CELERY_BIN=; {there}", "/srv/path/multi [start] [w1] [w2] [--keep"),
        (f"CELERY_BIN=; {there}:/srv/bare", "/srv/path/multi [start] [w1] [w2] [--executable=/srv/bare/python3] [--"),
        (
            f"CELERY_BIN=/srv/proj/venv/bin/celery MULTI_BIN={RECORDER}",
            f"{RECORDER} [start] [w1] [w2] [--executable=/srv/proj/venv/bin/python] [--",
        ),
        (
            f"CELERY_BIN=/srv/proj/venv/bin/celery MULTI_BIN='{RECORDER} --quiet'",
            f"{RECORDER} [--quiet] [start] [w1] [w2] [--executable=/srv/proj/venv/bin/python] [--",
        ),
    ):
        host.write("/etc/default/celeryd", f"{WORKERS}\n{config}\n")
        service(host, "start", shell=shell).ok()
        assert f" {used}" in recorded(host)[0], config


def foreground(host: Host) -> int:
    """The pid of the multi that stays: the oldest process of the workers' user that runs it."""
    found = []
    for process in host.path("/proc").glob("[1-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(BIN / "multi") in words and host.status(int(process.name))["Uid"].startswith(str(USER_ID)):
                found.append(int(process.name))
    return min(found)


def test_one_node_in_the_foreground(host: Host, shell: str) -> None:
    """C_FAKEFORK keeps the worker in the foreground, with its output on the terminal; TERM stops it warm."""
    host.app()
    host.write("/etc/default/celeryd", QUICK.replace("w1 w2", "w1"))
    host.write("/srv/said", "")
    line = shlex.join([*shell.split(), "/etc/init.d/multid", "start"])
    begun = host.begin("sh", "-c", f"exec {line} >/srv/said 2>&1", env={"C_FAKEFORK": "1"})
    until(lambda: " ready." in host.read("/srv/said"), "the worker says so on the terminal", PATIENCE)
    assert pids(host).keys() == {"w1"}
    host.run("kill", "-TERM", str(foreground(host))).ok()
    begun.done().ok()
    assert "Warm shutdown" in host.read("/srv/said")
    assert host.processes() == []
    assert not host.exists("/var/log/celery/w1.log")


def test_the_documentation_names_every_variable() -> None:
    """docs/reference/init-scripts.md has each variable that the scripts read, and no other."""
    page = (CHECKOUT / "docs/reference/init-scripts.md").read_text(encoding="utf-8")
    table = page[page.index("## Variables") : page.index("## Who runs what")]
    told = set(re.findall(r"`((?:CELERY|DAEMON|MULTI_BIN)[A-Z_]*)`", table))
    scripts = "".join(
        re.sub(r"^\s*#.*", "", (CHECKOUT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
        for path in SCRIPTS.values()
    )
    read = set(re.findall(r"\$\{?((?:CELERY|DAEMON|MULTI_BIN)[A-Z_]*)", scripts))
    assert told == read - {"CELERY_CONFIG_MODULE"}  # Celery's own; here it only counts as a configuration


def test_the_documentation_names_every_verb() -> None:
    """docs/reference/init-scripts.md has each verb of the scripts."""
    page = (CHECKOUT / "docs/reference/init-scripts.md").read_text(encoding="utf-8")
    table = page[page.index("| verb | what it does |") : page.index("Exit codes are those of")]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", " ".join(cells))) == set(VERBS)


def test_a_dry_run_does_nothing(host: Host) -> None:
    """G10: dryrun says what start would do, and makes nothing."""
    host.app()
    host.write("/etc/default/celeryd", WORKERS)
    done = service(host, "dryrun").ok()
    assert "w1@" in done.out
    assert not host.exists("/run/celery")
    assert host.processes() == []


# --- the scripts themselves -----------------------------------------------------------------------------------


def shared(path: str) -> str:
    """The part that both scripts have."""
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    begin, end = (rf"^# --- shared with \w+: {word} ---$" for word in ("begin", "end"))
    found = re.search(f"{begin}(.*){end}", text, re.MULTILINE | re.DOTALL)
    assert found is not None, path
    return found[1]


def test_the_shared_part_is_the_same() -> None:
    """Each script stands alone, so what both need is in both, word for word."""
    assert shared(SCRIPTS["multid"]) == shared(SCRIPTS["multibeat"])


def test_the_scripts_are_clean_posix_sh() -> None:
    """Shellcheck, told that it is POSIX sh, finds nothing."""
    need("shellcheck", root=False)
    paths = [str(CHECKOUT / path) for path in SCRIPTS.values()]
    done = subprocess.run(["shellcheck", "--shell=sh", *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_is_whole(name: str) -> None:
    """The LSB header names the service, what it needs, when it runs and what it is."""
    text = Path(CHECKOUT / SCRIPTS[name]).read_text(encoding="utf-8")
    found = re.search(r"^### BEGIN INIT INFO\n(.*)^### END INIT INFO$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    fields = dict(re.findall(r"^# ([\w-]+): +(\S.*)$", found[1], re.MULTILINE))
    assert fields["Provides"] == name
    for keyword in ("Required-Start", "Required-Stop", "Short-Description", "Description"):
        assert fields[keyword]
    assert fields["Default-Start"] == "2 3 4 5"
    assert fields["Default-Stop"] == "0 1 6"
    assert text.startswith("#!/bin/sh\n")
    assert os.access(CHECKOUT / SCRIPTS[name], os.X_OK)
