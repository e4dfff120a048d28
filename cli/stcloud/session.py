"""What every command has: the common options, the client, the output, and the mapping of errors to exit codes."""

from __future__ import annotations

import functools
import inspect
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from stcloud.access_api import AccessApi
from stcloud.api import Api
from stcloud.client import Client, require_private, storage_client
from stcloud.credential_api import CredentialApi
from stcloud.dataset_api import DatasetApi
from stcloud.delivery_api import DeliveryApi
from stcloud.errors import Interrupted, LocalError, StcloudError, UsageError
from stcloud.helptext import Command
from stcloud.notification_api import NotificationApi
from stcloud.profiles import ProfileFile
from stcloud.render import Output
from stcloud.renewal import Renewal
from stcloud.retry import Retry
from stcloud.target import DEFAULT_URL, Target, resolve
from stcloud.vault import Keyring, Vault, system_keyring

#: Tries to give an answer of the right form; longest line that can be one.
MAX_ASKED, MAX_LINE = 3, 10_000
PIPED = "--password-stdin"
PasswordStdin = Annotated[bool, typer.Option(PIPED, help="Read what would be typed unseen from stdin, a line each.")]

UrlOption = Annotated[
    str | None, typer.Option("--url", help=f"The server. [env: STCLOUD_URL, default: {DEFAULT_URL}]", metavar="URL")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="A server by its profile. [env: STCLOUD_PROFILE]", metavar="NAME")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, everything else on stderr.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Results, warnings and errors only.")]


@dataclass
class Options:
    """The common options, from wherever on the command line they stood; the later one wins."""

    url: str | None = None
    json_mode: bool = False
    quiet: bool = False
    profile: str | None = None

    def merge(self, url: str | None, json_mode: bool, quiet: bool, profile: str | None = None) -> None:
        self.url = url or self.url
        self.profile = profile or self.profile
        self.json_mode = json_mode or self.json_mode
        self.quiet = quiet or self.quiet


def _cache_dir(environ: Mapping[str, str], platform: str, home: Path) -> Path:
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "stcloud" / "Cache"
    if platform == "darwin":
        return home / "Library" / "Caches" / "stcloud"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "stcloud"


def _config_dir(environ: Mapping[str, str], platform: str, home: Path) -> Path:
    if platform == "win32":
        return Path(environ.get("APPDATA") or home / "AppData" / "Roaming") / "stcloud"
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "stcloud"


@dataclass
class Runtime:
    """The outside world of the command line; tests put their own in as the root context's ``obj``."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    transport: httpx.BaseTransport | None = None
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    home: Path = field(default_factory=Path.home)
    platform: str = sys.platform
    is_interactive: Callable[[], bool] = lambda: sys.stdin.isatty() and sys.stderr.isatty()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    keyring: Keyring | None = None
    options: Options = field(default_factory=Options)

    @property
    def cache_dir(self) -> Path:
        return _cache_dir(self.environ, self.platform, self.home)

    @property
    def config_dir(self) -> Path:
        return _config_dir(self.environ, self.platform, self.home)

    @cached_property
    def profile_file(self) -> ProfileFile:
        return ProfileFile(self.config_dir)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.config_dir, self.keyring or system_keyring(self.environ))

    @property
    def retry(self) -> Retry:
        return Retry(sleep=self.sleep, rng=self.rng)


class Session:
    """One command at work."""

    def __init__(self, runtime: Runtime) -> None:
        options = runtime.options
        self.runtime = runtime
        self.output = Output(json_mode=options.json_mode, quiet=options.quiet)
        self._client: Client | None = None
        #: Hidden answers come from stdin, a line each, and nobody is asked.
        self.answers_piped = False

    @cached_property
    def target(self) -> Target:
        """Raises UsageError, LocalError."""
        return self.find_target(may_be_new=False)

    def find_target(self, *, may_be_new: bool) -> Target:
        options, runtime = self.runtime.options, self.runtime
        return resolve(
            runtime.profile_file.read(),
            runtime.environ,
            url=options.url,
            profile=options.profile,
            may_be_new=may_be_new,
        )

    @property
    def url(self) -> str:
        return self.target.url

    @property
    def api(self) -> Api:
        return Api(self._signed_in())

    @property
    def datasets(self) -> DatasetApi:
        return DatasetApi(self._signed_in())

    @property
    def deliveries(self) -> DeliveryApi:
        return DeliveryApi(self._signed_in())

    @property
    def credentials(self) -> CredentialApi:
        return CredentialApi(self._signed_in())

    @property
    def notifications(self) -> NotificationApi:
        return NotificationApi(self._signed_in())

    @property
    def access(self) -> AccessApi:
        """As the caller that commands have."""
        return AccessApi(self._signed_in())

    @contextmanager
    def stranger(self, url: str, token: str | None = None) -> Iterator[AccessApi]:
        """As nobody yet (or with ``token``). What is sent holds secrets: raises UsageError for plain http elsewhere."""
        with self._connect(url, token) as client:
            require_private(client.url, "A password")
            yield AccessApi(client)

    def _signed_in(self) -> Client:
        if self._client is None:
            target = self.target
            renewal = None
            if target.token is None and target.profile is not None:
                renewal = Renewal.of(target.profile, self.runtime.vault, self._refreshed, self.output.warn)
            token = target.token or (renewal.token if renewal else None)
            self._client = self._connect(target.url, token, renewal)
        return self._client

    def _connect(self, url: str, token: str | None, renew: Callable[[], str | None] | None = None) -> Client:
        return Client(
            url,
            token,
            retry=self.runtime.retry,
            transport=self.runtime.transport,
            on_retry=self.output.note,
            renew=renew,
        )

    def _refreshed(self, url: str, refresh_token: str) -> dict[str, Any]:
        with self.stranger(url) as access:
            return access.refresh(refresh_token)

    def storage(self, connections: int) -> httpx.Client:
        return storage_client(connections=connections, transport=self.runtime.transport)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def ask(
        self,
        question: str,
        *,
        instead: str,
        hidden: bool = False,
        twice: bool = False,
        check: Callable[[str], str | None] = lambda _: None,
    ) -> str:
        """What the user types, or with ``answers_piped`` the next line of stdin where it is ``hidden``.

        ``instead`` is the option that saves the question. ``check`` says what is wrong with an answer; then it is asked
        again. Raises UsageError where there is nobody to ask, and for a line that is wrong.
        """
        if hidden and self.answers_piped:
            return self._piped(question, check)
        if not self.runtime.is_interactive():
            raise UsageError(
                f"There is nobody to ask for: {question.lower()}.", advice=f"Run it in a terminal, or use {instead}."
            )
        for _ in range(MAX_ASKED):
            answer: str = typer.prompt(question, hide_input=hidden, confirmation_prompt=twice, err=True)
            wrong = check(answer)
            if wrong is None:
                return answer
            self.output.warn(wrong)
        raise UsageError(str(wrong))

    @staticmethod
    def _piped(question: str, check: Callable[[str], str | None]) -> str:
        line = sys.stdin.readline(MAX_LINE)
        answer = line.rstrip("\r\n")
        if not answer:
            raise UsageError(
                f"Stdin ended before: {question.lower()}.",
                advice="--password-stdin reads one line for each thing that a terminal would ask unseen.",
            )
        wrong = check(answer)
        if wrong is not None:
            raise UsageError(wrong)
        return answer

    def confirm(self, question: str, *, yes: bool, needs_yes: bool) -> None:
        """Goes on when the user agrees. Without a terminal there is nobody to ask: then ``needs_yes`` demands --yes.

        Raises Interrupted when the user says no, UsageError when --yes is missing.
        """
        if yes:
            return
        if not self.runtime.is_interactive():
            if needs_yes:
                raise UsageError("This can't be undone, and there is nobody to ask here.", advice="Add --yes.")
            return
        if not typer.confirm(question, err=True):
            raise Interrupted("Nothing was done.", code="declined")


def command(
    app: typer.Typer, name: str, *, epilog: str | None = None
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Registers a command whose first parameter is a Session; the common options are added to its own.

    Its return value, if any, is the exit code. A StcloudError is shown and becomes its exit code.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]

        @functools.wraps(function)
        def run(ctx: typer.Context, **values: Any) -> None:
            runtime = runtime_of(ctx)
            runtime.options.merge(*(values.pop(n) for n in ("url", "as_json", "quiet", "profile")))
            raise typer.Exit(execute(Session(runtime), lambda session: function(session, **values)))

        keyword = inspect.Parameter.KEYWORD_ONLY
        common = [
            inspect.Parameter("url", keyword, default=None, annotation=UrlOption),
            inspect.Parameter("as_json", keyword, default=False, annotation=JsonOption),
            inspect.Parameter("quiet", keyword, default=False, annotation=QuietOption),
            inspect.Parameter("profile", keyword, default=None, annotation=ProfileOption),
        ]
        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        parameters = [context, *(p.replace(kind=keyword) for p in own), *common]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        # Typer asks get_type_hints() too, which must not find the hint of the Session.
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name, cls=Command, epilog=epilog)(run)
        return function

    return register


def runtime_of(ctx: typer.Context) -> Runtime:
    """The runtime of this invocation, made at first use."""
    root = ctx.find_root()
    if not isinstance(root.obj, Runtime):
        root.obj = Runtime()
    return root.obj


def execute(session: Session, work: Callable[[Session], int | None]) -> int:
    """Runs ``work``; what goes wrong is shown, never as a traceback. Returns the exit code."""
    try:
        return int(work(session) or 0)
    except StcloudError as error:
        session.output.error(error)
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        stopped = Interrupted("Stopped.")
        session.output.error(stopped)
        return int(stopped.exit_code)
    except BrokenPipeError:
        raise
    except OSError as error:
        failed = LocalError(f"{error.filename or 'This computer'}: {error.strerror or error}.")
        session.output.error(failed)
        return int(failed.exit_code)
    finally:
        session.close()
