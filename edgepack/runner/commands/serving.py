"""`edgepack-runner serve`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edgepack.runner.clock import SystemClock
from edgepack.runner.commands.options import (
    Commands,
    add_batch_options,
    add_command,
    add_engine_options,
    paths_of,
    port,
    settings_of,
)
from edgepack.runner.openssl import import_without_openssl


def add_serve(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds `serve`."""
    parser = add_command(
        commands, "serve", _serve, "Verify the release and serve it over HTTP.", "serve --port 8080"
    )
    add_engine_options(parser)
    parser.add_argument("--host", help="address to bind; default: loopback")
    parser.add_argument("--port", type=port, help="port to bind; 0 takes a free one; default: 8080")
    add_batch_options(parser)
    parser.add_argument(
        "--trial",
        type=Path,
        metavar="DIR",
        help="a release folder to serve as canary; default: ROOT/trial, if any",
    )


def _serve(options: argparse.Namespace) -> int:
    from dataclasses import replace

    paths, clock = paths_of(options), SystemClock()
    settings = settings_of(options, paths)
    if settings.serve.tls_key is None:
        import_without_openssl()
    from edgepack.runner.daemon.around import Around
    from edgepack.runner.daemon.serve import serve
    from edgepack.runner.log import open_log
    from edgepack.runner.notify import open_supervisor
    from edgepack.runner.settings import override

    section = override(
        settings.serve,
        host=options.host,
        port=options.port,
        variant=options.candidate,
        threads=options.threads,
        trial=options.trial,
        batch_size=options.batch_size,
        batch_delay_us=options.batch_delay_us,
    )
    return serve(
        Around(
            paths=paths,
            settings=replace(settings, serve=section),
            clock=clock,
            log=open_log(sys.stdout, clock),
            supervisor=open_supervisor(os.environ),
            environment=os.environ,
            arguments=options.arguments,
        )
    )
