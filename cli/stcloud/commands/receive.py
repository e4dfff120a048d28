"""``stcloud receive``: models come to this computer by themselves."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from stcloud.errors import ExitCode, LocalError, StcloudError, UsageError
from stcloud.listening import Desk, EventServer
from stcloud.pulling import OUTPUTS_FOLDER
from stcloud.receiving import PARALLEL, Collector, Inbox, ModelEvent
from stcloud.render import count_text, size_text
from stcloud.session import MAX_LINE, Session, command
from stcloud.signing import key_of

SECRET_VARIABLE = "STCLOUD_WEBHOOK_SECRET"  # noqa: S105 - a variable's name

app = typer.Typer()


@command(app, "receive", epilog="Exit code: 0 stopped with Ctrl-C, or --once and saved; 4 --once and not saved.")
def receive(
    session: Session,
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Where to listen.")] = 8400,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen at; 0.0.0.0 is every one of this computer.")
    ] = "127.0.0.1",
    to: Annotated[
        Path | None, typer.Option("--dir", help="Where to. [default: ~/.simpletuner/cloud_outputs]", metavar="FOLDER")
    ] = None,
    secret_stdin: Annotated[
        bool, typer.Option("--secret-stdin", help="Read the webhook's secret from stdin, a line each while it changes.")
    ] = False,
    from_env: Annotated[
        str, typer.Option(metavar="NAME", help="The variable that holds the webhook's secret.")
    ] = SECRET_VARIABLE,
    once: Annotated[bool, typer.Option("--once", help="Stop after the first model.")] = False,
) -> int:
    """Take models that are delivered by webhook, check their SHA-256, and save them to FOLDER/JOB.

    Only messages signed with the webhook's secret are believed. A receipt is sent when everything is there, which makes
    the delivery verified. Files of the model that are in the folder and differ are replaced.
    """
    keys = _keys(session, secret_stdin=secret_stdin, variable=from_env)
    root = (to or session.runtime.home / OUTPUTS_FOLDER).expanduser().absolute()
    say = session.output.note
    inbox = Inbox(root)
    desk = Desk(keys, inbox, now=session.runtime.now, say=say)
    for event in inbox.waiting():
        say(f"{event.delivery_id} was not finished; it goes on.")
        desk.put(event)
    try:
        server = EventServer((host, port), desk)
    except OSError as error:
        raise LocalError(
            f"Can't listen at {host}:{port}: {error.strerror or error}.", advice="Choose another one with --port."
        ) from error
    with server, session.storage(PARALLEL + 1) as http:
        collector = Collector(http, root, key=keys[0], retry=session.runtime.retry, now=session.runtime.now, say=say)
        worker = _Worker(session, desk, inbox, collector, server if once else None)
        threading.Thread(target=worker.run, daemon=True).start()
        say(f"Listening at http://{host}:{port}. Models are saved to {root}. Stop with Ctrl-C.")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            worker.stopping = True
            say("Stopped. What was not finished goes on at the next start.")
    return int(worker.outcome)


class _Worker:
    """Fetches one model after the other. ``stops`` is the server that is stopped after the first."""

    def __init__(
        self, session: Session, desk: Desk, inbox: Inbox, collector: Collector, stops: EventServer | None
    ) -> None:
        self._session = session
        self._desk = desk
        self._inbox = inbox
        self._collector = collector
        self._stops = stops
        self.stopping = False
        self.outcome = ExitCode.OK

    def run(self) -> None:
        while True:
            event = self._desk.queue.get()
            try:
                self._collect(event)
            finally:
                self._desk.done(event)
            if self._stops is not None:
                self._stops.shutdown()
                return

    def _collect(self, event: ModelEvent) -> None:
        output = self._session.output
        what = f"{count_text(event.total_files, 'file')}, {size_text(event.total_bytes)}"
        output.note(f"{event.run_name} ({event.job_id}): {what}")
        try:
            folder = self._collector.collect(event)
            self._inbox.forget(event)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next model must not find nobody here
            # At the end the connections are closed under what is being fetched; that is no news.
            if not self.stopping:
                self.outcome = ExitCode.API
                said = error.message if isinstance(error, StcloudError) else f"{type(error).__name__}: {error}"
                output.warn(f"{event.job_id} was not saved: {said} The server sends it again.")
            return
        data = {"job_id": event.job_id, "delivery_id": event.delivery_id, "folder": str(folder)}
        if output.json_mode:
            output.line({"type": "saved", **data, "files": event.total_files, "bytes": event.total_bytes})
        else:
            output.result(None, str(folder))


def _keys(session: Session, *, secret_stdin: bool, variable: str) -> list[bytes]:
    """Newest first. Raises UsageError."""
    if secret_stdin:
        secrets = [line.strip() for line in sys.stdin.read(MAX_LINE).splitlines() if line.strip()]
    else:
        secrets = session.runtime.environ.get(variable, "").split()
    if not secrets:
        if secret_stdin or not session.runtime.is_interactive():
            raise UsageError(
                "There is no secret to check messages with.",
                advice=f"Put it into {variable}, or pipe it in with --secret-stdin. It was shown by: "
                "stcloud credentials add NAME --kind webhook",
            )
        secrets = [session.ask("The webhook's secret (whsec_…)", instead="--secret-stdin", hidden=True)]
    keys = [key_of(secret) for secret in secrets]
    if None in keys:
        raise UsageError("That is no webhook secret; it begins with whsec_.", code="bad_secret")
    return [key for key in keys if key is not None]
