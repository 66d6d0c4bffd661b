"""What the files of `multi/presets` say, made by scripts/schema: to parse one would take each command 5 ms."""

from __future__ import annotations

# fmt: off
VALUES: dict[str, dict[str, object]] = {
    "arq": {
        "summary": "an arq worker",
        "cmd": "-m arq",
        "options": {
            "flags": ["--burst", "--no-burst", "--check", "-v --verbose"],
            "valued": ["--watch", "--custom-log-dict"],
        },
        "defaults": {
            "stop_schedule": "TERM/90/KILL/5",
            "ready": "log:redis_version=",
            "startsecs": 1,
        },
    },
    "celery-beat": {
        "summary": "Celery's scheduler, beat",
        "cmd": "-m celery beat",
        "log_option": "--logfile",
        "dirname": "celery",
        "single": True,
        "container": ["-s", "/tmp/celerybeat-schedule"],
        "hup_ends": ["-m celery"],
        "ready_fallback": "alive",
        "ready_fallback_note": "multi-supervisor is not installed in beat's Python, so OK only means that the process stayed alive; install it there to be told when beat has loaded its schedule",
        "options": {
            "leading_flags": ["-C --no-color", "-q --quiet", "--skip-checks"],
            "leading_valued": ["-A --app", "-b --broker", "--result-backend", "--loader", "--config", "--workdir"],
            "dropped": ["--detach"],
            "flags": ["--enable-remote-control", "--no-enable-remote-control"],
            "valued": ["-s --schedule", "-S --scheduler", "--max-interval", "-n --hostname", "-l --loglevel"],
        },
        "defaults": {
            "stop_schedule": "TERM/30/KILL/5",
            "ready": "notify",
            "env": {
                "SPT_NOENV": "1",
            },
        },
    },
    "celery": {
        "summary": "a Celery worker",
        "cmd": "-m celery worker",
        "name_option": "-n",
        "log_option": "--logfile",
        "fills_codes": True,
        "dirname": "celery",
        "dump_signal": "USR1",
        "hup_ends": ["-m celery", "[celeryd: "],
        "ready_fallback": "alive",
        "ready_fallback_note": "multi-supervisor is not installed in the worker's Python, so OK only means that the process stayed alive; install it there to be told when the worker consumes",
        "options": {
            "leading_flags": ["-C --no-color", "-q --quiet", "--skip-checks"],
            "leading_valued": ["-A --app", "-b --broker", "--result-backend", "--loader", "--config", "--workdir"],
            "dropped": ["-D --detach"],
            "flags": [
                "--disable-prefetch", "-E --task-events --events", "--purge --discard", "--without-gossip",
                "--without-mingle", "--without-heartbeat", "-B --beat",
            ],
            "valued": [
                "-n --hostname", "-S --statedb", "-l --loglevel", "-O --optimization", "--prefetch-multiplier",
                "-c --concurrency", "-P --pool", "--time-limit", "--soft-time-limit", "--max-tasks-per-child",
                "--pool-start-method", "--max-memory-per-child", "-Q --queues", "-X --exclude-queues", "-I --include",
                "--heartbeat-interval", "--autoscale", "-s --schedule-filename --schedule", "--scheduler",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/QUIT/10/KILL/5",
            "reload_signal": "HUP",
            "ready": "notify",
            "startsecs": 0,
            "env": {
                "SPT_NOENV": "1",
            },
        },
    },
    "dramatiq": {
        "summary": "Dramatiq workers",
        "cmd": "-m dramatiq",
        "options": {
            "flags": ["--skip-logging", "--use-spawn", "--watch-use-polling", "--version", "-v --verbose"],
            "valued": [
                "-p --processes", "-t --threads", "-P --path", "-Q --queues", "--pid-file", "--log-file",
                "-f --fork-function", "--worker-fork-timeout", "--worker-shutdown-timeout", "--watch",
                "-i --watch-include", "-x --watch-exclude",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/TERM/10/KILL/5",
            "ready": "log:Worker process is ready for action",
        },
        "with_multi": {
            "cmd": "-m multi.plugins.dramatiq",
            "ready": "notify",
        },
    },
    "exec": {
        "summary": "a bare command",
        "cmd": [],
        "defaults": {
            "stop_schedule": "TERM/90/KILL/5",
            "ready": "alive",
        },
    },
    "flower": {
        "summary": "Flower, the monitor of Celery",
        "cmd": "-m celery flower",
        "dirname": "celery",
        "hup_ends": ["-m celery"],
        "options": {
            "leading_flags": ["-C --no-color", "-q --quiet", "--skip-checks"],
            "leading_valued": ["-A --app", "-b --broker", "--result-backend", "--loader", "--config", "--workdir"],
            "flags": [
                "--address", "--auth", "--auth-provider --auth_provider", "--auto-refresh --auto_refresh",
                "--basic-auth --basic_auth", "--broker-api --broker_api", "--ca-certs --ca_certs", "--certfile",
                "--conf", "--cookie-secret --cookie_secret", "--db", "--debug", "--enable-events --enable_events",
                "--format-task --format_task", "--inspect-timeout --inspect_timeout", "--keyfile",
                "--log-file-max-size --log_file_max_size", "--log-file-num-backups --log_file_num_backups",
                "--log-file-prefix --log_file_prefix", "--log-rotate-interval --log_rotate_interval",
                "--log-rotate-mode --log_rotate_mode", "--log-rotate-when --log_rotate_when",
                "--log-to-stderr --log_to_stderr", "--logging", "--max-tasks --max_tasks",
                "--max-workers --max_workers", "--natural-time --natural_time", "--oauth2-key --oauth2_key",
                "--oauth2-redirect-uri --oauth2_redirect_uri", "--oauth2-secret --oauth2_secret", "--persistent",
                "--port", "--purge-offline-workers --purge_offline_workers", "--read-only --read_only",
                "--state-save-interval --state_save_interval",
                "--task-runtime-metric-buckets --task_runtime_metric_buckets", "--tasks-columns --tasks_columns",
                "--unix-socket --unix_socket", "--url-prefix --url_prefix", "--xheaders",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/10/KILL/5",
            "ready": "log:Visit me (at|via) ",
            "startsecs": 2,
            "env": {
                "SPT_NOENV": "1",
            },
        },
    },
    "granian": {
        "summary": "a Granian server",
        "cmd": "-m granian",
        "options": {
            "flags": [
                "--ws", "--no-ws", "--http1-keep-alive", "--no-http1-keep-alive", "--http1-pipeline-flush",
                "--no-http1-pipeline-flush", "--http2-adaptive-window", "--no-http2-adaptive-window", "--log",
                "--no-log", "--access-log", "--no-access-log", "--ssl-client-verify", "--no-ssl-client-verify",
                "--respawn-failed-workers", "--no-respawn-failed-workers", "--factory", "--no-factory", "--metrics",
                "--no-metrics", "--reload", "--no-reload", "--reload-ignore-worker-failure",
                "--no-reload-ignore-worker-failure",
            ],
            "valued": [
                "--host", "--port", "--uds", "--uds-permissions", "--interface", "--http", "--workers",
                "--blocking-threads", "--blocking-threads-idle-timeout", "--runtime-threads",
                "--runtime-blocking-threads", "--runtime-mode", "--loop", "--task-impl", "--backlog", "--backpressure",
                "--http1-buffer-size", "--http1-header-read-timeout", "--http2-initial-connection-window-size",
                "--http2-initial-stream-window-size", "--http2-keep-alive-interval", "--http2-keep-alive-timeout",
                "--http2-max-concurrent-streams", "--http2-max-frame-size", "--http2-max-headers-size",
                "--http2-max-send-buffer-size", "--log-level", "--log-config", "--access-log-fmt", "--ssl-certificate",
                "--ssl-keyfile", "--ssl-keyfile-password", "--ssl-protocol-min", "--ssl-ca", "--ssl-crl",
                "--url-path-prefix", "--respawn-interval", "--rss-sample-interval", "--rss-samples",
                "--workers-lifetime", "--workers-max-rss", "--workers-kill-timeout", "--working-dir", "--env-files",
                "--static-path-route", "--static-path-mount", "--static-path-dir-to-file", "--static-path-expires",
                "--metrics-scrape-interval", "--metrics-address", "--metrics-port", "--reload-paths",
                "--reload-ignore-dirs", "--reload-ignore-patterns", "--reload-ignore-paths", "--reload-tick",
                "--process-name", "--pid-file",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/KILL/5",
            "reload_signal": "HUP",
            "ready": "log:Started worker-",
            "startsecs": 1,
            "env": {
                "SPT_NOENV": "1",
            },
        },
    },
    "gunicorn": {
        "summary": "a Gunicorn server",
        "cmd": "-m gunicorn",
        "name_option": "-n",
        "options": {
            "dropped": ["-D --daemon"],
            "flags": [
                "-v --version", "--reload", "--spew", "--check-config", "--print-config", "--preload", "--no-sendfile",
                "--reuse-port", "--initgroups", "--disable-redirect-access-to-syslog", "--capture-output",
                "--log-syslog", "-R --enable-stdio-inheritance", "--enable-backlog-metric", "--proxy-protocol",
                "--suppress-ragged-eofs", "--do-handshake-on-connect", "--permit-obsolete-folding",
                "--strip-header-spaces", "--permit-unconventional-http-method", "--permit-unconventional-http-version",
                "--casefold-http-method", "--no-control-socket",
            ],
            "valued": [
                "-c --config", "-b --bind", "--backlog", "-w --workers", "-k --worker-class", "--threads",
                "--worker-connections", "--max-requests", "--max-requests-jitter", "-t --timeout",
                "--graceful-timeout", "--keep-alive", "--limit-request-line", "--limit-request-fields",
                "--limit-request-field_size", "--reload-engine", "--reload-extra-file", "--chdir", "-e --env",
                "-p --pid", "--worker-tmp-dir", "-u --user", "-g --group", "-m --umask", "--forwarded-allow-ips",
                "--access-logfile", "--access-logformat", "--error-logfile --log-file", "--log-level",
                "--logger-class", "--log-config", "--log-config-json", "--log-syslog-to", "--log-syslog-prefix",
                "--log-syslog-facility", "--statsd-host", "--dogstatsd-tags", "--statsd-prefix", "-n --name",
                "--pythonpath", "--paste --paster", "--proxy-allow-from", "--protocol", "--uwsgi-allow-from",
                "--keyfile", "--certfile", "--ssl-version", "--cert-reqs", "--ca-certs", "--ciphers",
                "--http-protocols", "--http2-cleartext", "--http2-max-concurrent-streams",
                "--http2-initial-window-size", "--http2-max-frame-size", "--http2-max-header-list-size",
                "--paste-global", "--forwarder-headers", "--header-map", "--asgi-loop", "--asgi-lifespan",
                "--asgi-disconnect-grace-period", "--websocket-max-message-size", "--http-parser", "--root-path",
                "--dirty-app", "--dirty-workers", "--dirty-timeout", "--dirty-threads", "--dirty-graceful-timeout",
                "--control-socket", "--control-socket-mode",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/QUIT/10/KILL/5",
            "reload_signal": "HUP",
            "ready": "notify",
            "startsecs": 2,
            "env": {
                "SPT_NOENV": "1",
            },
        },
    },
    "huey": {
        "summary": "a huey consumer",
        "cmd": "-m huey.bin.huey_consumer",
        "options": {
            "flags": [
                "-C --disable-health-check", "-f --flush-locks", "-n --no-periodic", "-v --verbose", "-q --quiet",
                "-S --simple",
            ],
            "valued": [
                "-l --logfile", "-w --workers", "-k --worker-type", "-d --delay", "-m --max-delay", "-b --backoff",
                "-c --health-check-interval", "-L --extra-locks", "-M --max-tasks", "-t --shutdown-timeout",
                "-g --graceful-signal", "-s --scheduler-interval",
            ],
        },
        "defaults": {
            "stop_schedule": "INT/90/TERM/10/KILL/5",
            "reload_signal": "HUP",
            "ready": "log:Huey consumer started",
        },
        "with_multi": {
            "cmd": "-m multi.plugins.huey",
            "ready": "notify",
        },
    },
    "hypercorn": {
        "summary": "a Hypercorn server",
        "cmd": "-m hypercorn",
        "options": {
            "dropped": ["-D --daemon"],
            "flags": ["--debug", "--reload"],
            "valued": [
                "--access-log", "--access-logfile", "--access-logformat", "--backlog", "-b --bind", "--ca-certs",
                "--certfile", "--cert-reqs", "--ciphers", "-c --config", "--error-log", "--log-file --error-logfile",
                "--graceful-timeout", "--read-timeout", "--max-requests", "--max-requests-jitter", "-g --group",
                "-k --worker-class", "--keep-alive", "--keyfile", "--keyfile-password", "--insecure-bind",
                "--log-config", "--log-level", "-p --pid", "--quic-bind", "--root-path", "--server-name",
                "--statsd-host", "--statsd-prefix", "-m --umask", "-u --user", "--verify-mode",
                "--websocket-ping-interval", "-w --workers",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/KILL/5",
            "reload_signal": "HUP",
            "ready": "log:Running on ",
            "env": {
                "SPT_NOENV": "1",
            },
        },
    },
    "procrastinate": {
        "summary": "a procrastinate worker",
        "cmd": "-m procrastinate worker",
        "name_option": "--name",
        "options": {
            "leading_flags": ["-v --verbose"],
            "leading_valued": ["-a --app", "--log-level", "--log-format", "--log-format-style"],
            "flags": ["-w --wait --one-shot", "-l --listen-notify --no-listen-notify"],
            "valued": [
                "-n --name", "-q --queues", "-c --concurrency", "-p --fetch-job-polling-interval",
                "--abort-job-polling-interval", "--shutdown-graceful-timeout", "--delete-jobs",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/KILL/5",
            "ready": "log:Starting worker on ",
        },
    },
    "rq": {
        "summary": "an RQ worker",
        "cmd": "-m rq.cli worker",
        "options": {
            "flags": [
                "-b --burst", "--disable-job-desc-logging", "-v --verbose", "-q --quiet",
                "-d --disable-default-exception-handler", "-s --with-scheduler",
            ],
            "valued": [
                "--logging_level", "--log-format", "--date-format", "-n --name", "--results-ttl", "--worker-ttl",
                "--maintenance-interval", "--job-monitoring-interval", "--exception-handler", "--pid", "--max-jobs",
                "--max-idle-time", "-ds --dequeue-strategy", "-S --serializer", "-P --path", "--connection-class",
                "--queue-class", "-j --job-class", "-w --worker-class", "-c --config", "-u --url",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/TERM/10/KILL/5",
            "ready": "log:\\*\\*\\* Listening on",
            "env": {
                "SPT_NOENV": "1",
            },
        },
        "with_multi": {
            "cmd": "-m multi.plugins.rq worker",
            "ready": "notify",
        },
    },
    "taskiq": {
        "summary": "a taskiq worker",
        "cmd": "-m taskiq worker",
        "options": {
            "flags": [
                "-fsd --fs-discover", "--no-parse", "--no-propagate-errors", "-r --reload", "--do-not-use-gitignore",
                "--no-configure-logging", "--use-process-pool",
            ],
            "valued": [
                "-d --app-dir", "--receiver", "--receiver_arg", "-tp --tasks-pattern", "--log-level", "--log-format",
                "-w --workers", "--max-threadpool-threads", "--shutdown-timeout", "--reload-dir", "--max-async-tasks",
                "--max-async-tasks-jitter", "--max-prefetch", "--max-fails", "--ack-type", "--max-tasks-per-child",
                "--wait-tasks-timeout", "--hardkill-count", "--max-process-pool-processes",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/KILL/5",
            "reload_signal": "HUP",
            "ready": "log:Listening started",
            "env": {
                "SPT_NOENV": "1",
            },
        },
    },
    "uvicorn": {
        "summary": "a Uvicorn server",
        "cmd": "-m uvicorn",
        "options": {
            "flags": [
                "--reload", "--http2", "--access-log", "--no-access-log", "--use-colors", "--no-use-colors",
                "--proxy-headers", "--no-proxy-headers", "--server-header", "--no-server-header", "--date-header",
                "--no-date-header", "--reset-contextvars", "--factory",
            ],
            "valued": [
                "--host", "--port", "--uds", "--fd", "--reload-dir", "--reload-include", "--reload-exclude",
                "--reload-delay", "--workers", "--loop", "--http", "--ws", "--ws-max-size", "--ws-max-queue",
                "--ws-ping-interval", "--ws-ping-timeout", "--ws-per-message-deflate", "--lifespan", "--interface",
                "--env-file", "--log-config", "--log-level", "--forwarded-allow-ips", "--root-path",
                "--limit-concurrency", "--backlog", "--limit-max-requests", "--limit-max-requests-jitter",
                "--timeout-keep-alive", "--timeout-graceful-shutdown", "--timeout-worker-healthcheck", "--ssl-keyfile",
                "--ssl-certfile", "--ssl-keyfile-password", "--ssl-version", "--ssl-cert-reqs", "--ssl-ca-certs",
                "--ssl-ciphers", "--header", "--app-dir", "--h11-max-incomplete-event-size",
            ],
        },
        "defaults": {
            "stop_schedule": "TERM/90/INT/10/KILL/5",
            "ready": "log:Application startup complete",
            "startsecs": 1,
            "env": {
                "SPT_NOENV": "1",
            },
        },
    },
}
