"""`import`: from files to a multi.toml that starts the same nodes."""

from __future__ import annotations

import os

from real import Real, everything, words_of

PROCFILE = """\
one: sleep 600
two: echo "port $PORT" && sleep 600
"""


def test_from_a_procfile_to_nodes(real: Real) -> None:
    """What is printed is a configuration, and its nodes run; importing touches nothing."""
    (real.base / "Procfile").write_text(PROCFILE)
    (real.base / ".env").write_text("PORT=7000\n")
    before = everything(real.base)
    text = real.raw("import", str(real.base / "Procfile")).ok().out
    assert everything(real.base) == before
    config = real.base / "made" / "multi.toml"
    config.parent.mkdir()
    done = real.raw("import", str(real.base / "Procfile"), f"--output={config}").ok()
    assert (done.out, config.read_text()) == (f"{config}\n", text)
    assert config.stat().st_mode & 0o777 == 0o600, "PORT might be a secret"
    where = f"--multi-config={config}", f"--pidfile={real.run}/%n.pid", f"--logfile={real.log}/%n.log"
    real.raw("check", *where).ok()
    real.raw("start", *where, "--startsecs=0").ok()
    assert words_of(real.pid("one")) == ["sleep", "600"]
    real.raw("wait", *where, "two", "--log=port 7100", "--since-start", "--timeout=60").ok()


def test_g9_what_cannot_be_imported(real: Real) -> None:
    """G9: one line and exit 2; a file that is there and differs stays."""
    (real.base / "x.conf").write_text("[program:x]\ncommand=sleep 9\n")
    (real.base / "there.toml").write_text("mine")
    file, wrong = str(real.base / "x.conf"), str(real.base / "y.conf")
    (real.base / "y.conf").write_text("[program:x]\ncommand=sleep 9\numask=99\n")
    for words, says in (
        ([], "needs a file"),
        ([str(real.base / "no")], "cannot be read: No such file"),
        ([str(real.base)], "cannot be read"),
        ([wrong], f"{wrong}: nodes.x.umask: '99' is not a file mode"),
        ([file, "--form=circus"], "--form=circus: is no option of import; it can be --output, --from"),
        ([file, "--from=circs"], "did you mean 'circus'?"),
        ([file, f"--output={real.base}/there.toml"], "is there already"),
        ([file, f"--output={real.base}/no/x.toml"], "/no: is no directory; create it, or give another --output"),
        ([file, f"--output={file}/x.toml"], "x.conf: is a file, not a directory; give another --output"),
    ):
        done = real.raw("import", *words).exits(2)
        assert says in done.err
        assert done.out == ""
    assert (real.base / "there.toml").read_text() == "mine"
    assert not (real.base / "no").exists()


def test_a_file_that_is_included(real: Real) -> None:
    """What a pattern of [include] matches is read, but for directories; one that cannot be read is named."""
    (real.base / "d/sub.conf").mkdir(parents=True)
    (real.base / "d/a.conf").write_text("[program:a]\ncommand=sleep 9\n")
    (real.base / "s.conf").write_text("[supervisord]\n[include]\nfiles=d/*.conf\n")
    assert "[nodes.a]" in real.raw("import", str(real.base / "s.conf")).ok().out
    os.mkfifo(real.base / "d/b.conf")
    assert f"{real.base}/d/b.conf: cannot be read" in real.raw("import", str(real.base / "s.conf")).exits(2).err
