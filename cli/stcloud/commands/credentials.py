"""``stcloud credentials …``"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from stcloud.errors import Conflict, ExitCode, NetworkError, UsageError
from stcloud.helptext import Group
from stcloud.render import time_text
from stcloud.session import Session, command

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Tokens and keys of the places that models are sent to, stored by name."
)

#: Longer than any secret that is taken.
MAX_SECRET = 10_000


class Kind(StrEnum):
    HUGGINGFACE = "huggingface"
    S3 = "s3"
    WEBHOOK = "webhook"


#: What is asked for, and how the field of the request is called.
_QUESTIONS = {
    Kind.HUGGINGFACE: ("Token", "token"),
    Kind.S3: ("Secret access key", "secret_access_key"),
    Kind.WEBHOOK: ("Signing secret", "secret"),
}
ONCE = "This is shown once. The machine that receives webhooks needs it: stcloud receive"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The credential's name.")]
Stdin = Annotated[
    bool, typer.Option("--secret-stdin", "--token-stdin", help="Read the token or secret from stdin, one line.")
]
FromEnv = Annotated[
    str | None,
    typer.Option("--from-env", metavar="VARIABLE", help="Read it from this environment variable, like HF_TOKEN."),
]
KeyId = Annotated[
    str | None, typer.Option("--access-key-id", metavar="ID", help="Of kind s3: the id of the access key.")
]
SessionEnv = Annotated[
    str | None,
    typer.Option(
        "--session-token-from-env",
        metavar="VARIABLE",
        help="Of kind s3, for temporary keys: the variable that holds their session token.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


@command(app, "add")
def add(
    session: Session,
    name: Name,
    kind: Annotated[Kind, typer.Option("--kind", help="What it opens.")],
    stdin: Stdin = False,
    from_env: FromEnv = None,
    access_key_id: KeyId = None,
    session_token_from_env: SessionEnv = None,
) -> None:
    """Store a credential. Its secret is typed unseen, or read from stdin or a variable; never given as an argument.

    Of kind webhook one is made, and printed to stdout, unless one is given.
    """
    body = {"name": name, "kind": kind.value}
    body |= _secret(session, kind, stdin, from_env, access_key_id, session_token_from_env)
    if kind is Kind.S3 and "access_key_id" not in body:
        raise UsageError("A credential of kind s3 needs --access-key-id.")
    try:
        made = session.credentials.create(body)
    except NetworkError as error:
        raise NetworkError(error.message, advice="It may have been stored. Look: stcloud credentials list") from None
    _saved(session, made, f"Stored {name}.")


@command(app, "list")
def list_credentials(session: Session) -> None:
    """List your credentials, without their secrets."""
    found = session.credentials.list()
    rows = [[c["name"], c["kind"], c["hint"], time_text(c["rotated_at"] or c["created_at"]), _state(c)] for c in found]
    session.output.table(
        ("NAME", "KIND", "HINT", "STORED", "LAST TEST"),
        rows,
        data={"credentials": found},
        empty="No credentials yet. Store one: stcloud credentials add NAME --kind huggingface",
    )


@command(app, "show")
def show(session: Session, name: Name) -> None:
    """Show one credential, and what names it. Its secret can't be shown."""
    found = session.credentials.get(name)
    lines = [
        ("name", found["name"]),
        ("kind", found["kind"]),
        ("hint", found["hint"]),
        ("made", time_text(found["created_at"])),
        ("rotated", time_text(found["rotated_at"]) if found["rotated_at"] else None),
        ("last test", _state(found)),
        *(("", fact) for fact in found["facts"]),
        *(("used by" if i == 0 else "", use) for i, use in enumerate(found["used_by"])),
    ]
    session.output.result(found, "\n".join(f"{label:<10} {value}" for label, value in lines if value))


@command(app, "test")
def try_it(
    session: Session,
    name: Name,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="PLACE",
            help="Where: huggingface:OWNER/NAME, s3://BUCKET/PREFIX, or a webhook's https URL. "
            "[default: what a token of the Hub may do in general]",
        ),
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option("--endpoint-url", metavar="URL", help="Of an S3-compatible store that is not AWS.")
    ] = None,
    region: Annotated[str | None, typer.Option("--region", metavar="REGION", help="Of the bucket.")] = None,
) -> int:
    """Try a credential, leaving no trace at the destination. Exits with 4 when it does not pass."""
    tested = session.credentials.test(name, None if to is None else place(to, endpoint_url, region))
    problem = tested["problem"]
    if problem is None:
        text = "\n".join([f"{name} works.", *(f"  {fact}" for fact in tested["facts"])])
    else:
        verdict = "could not be tried now" if problem["temporary"] else "does not work"
        text = f"{name} {verdict}: {problem['message']}\n  → {problem['advice']}"
    session.output.result(tested, text)
    return ExitCode.OK if tested["passed"] else ExitCode.API


@command(app, "rotate")
def rotate(
    session: Session,
    name: Name,
    stdin: Stdin = False,
    from_env: FromEnv = None,
    access_key_id: KeyId = None,
    session_token_from_env: SessionEnv = None,
    end_previous: Annotated[
        bool,
        typer.Option(
            "--end-previous", help="Of kind webhook: the last secret stops signing at once, as when it has leaked."
        ),
    ] = False,
) -> None:
    """Give a credential a new secret. Whatever names it uses the new one from now on.

    A webhook's last secret goes on signing beside the new one until the next rotation.
    """
    kind = Kind(session.credentials.get(name)["kind"])
    body = _secret(session, kind, stdin, from_env, access_key_id, session_token_from_env)
    if end_previous:
        body["keep_previous"] = False
    try:
        made = session.credentials.rotate(name, body)
    except NetworkError as error:
        advice = f"It may have been replaced. Look: stcloud credentials show {name}"
        raise NetworkError(error.message, advice=advice) from None
    _saved(session, made, f"{name} has its new secret.")


@command(app, "delete")
def delete(
    session: Session,
    name: Name,
    yes: Yes = False,
    force: Annotated[bool, typer.Option("--force", help="Also when something uses it, which fails then.")] = False,
) -> None:
    """Delete a credential with its secret."""
    session.confirm(f"Delete the credential {name}?", yes=yes, needs_yes=True)
    try:
        done = session.credentials.delete(name, force=force)
    except Conflict as refused:
        if refused.code != "credential_in_use":
            raise
        used = refused.extra.get("used_by")
        raise refused.said(
            f"{name} is in use: " + "; ".join(str(u) for u in used if u) + ". Or add --force: they fail then."
            if isinstance(used, list)
            else refused.message
        ) from None
    for use in done.get("used_by") or []:
        session.output.warn(f"{use} used it, and fails now.")
    session.output.result(done, f"Deleted {name}.")


def place(to: str, endpoint_url: str | None, region: str | None) -> dict[str, Any]:
    """The destination behind ``--to``. Raises UsageError."""
    found: dict[str, Any] = {}
    if to.startswith("huggingface:"):
        found = {"kind": "huggingface", "repo_id": to.removeprefix("huggingface:")}
    elif to.startswith("s3://"):
        bucket, _, prefix = to.removeprefix("s3://").partition("/")
        found = {"kind": "s3", "bucket": bucket, "prefix": prefix.strip("/")}
        found |= {k: v for k, v in (("endpoint_url", endpoint_url), ("region", region)) if v is not None}
    elif to.startswith(("https://", "http://")):
        found = {"kind": "webhook", "url": to}
    else:
        raise UsageError(f"'{to}' is no place.", advice="Write huggingface:OWNER/NAME, s3://BUCKET/PREFIX, or a URL.")
    if found["kind"] != "s3" and (endpoint_url or region):
        raise UsageError("--endpoint-url and --region belong to s3://BUCKET/PREFIX.")
    return found


def _secret(
    session: Session,
    kind: Kind,
    stdin: bool,
    from_env: str | None,
    access_key_id: str | None,
    session_token_from_env: str | None,
) -> dict[str, Any]:
    """The fields of the request that say the secret. Asks for it where none of the options says it. Raises
    UsageError."""
    question, field = _QUESTIONS[kind]
    body: dict[str, Any] = {}
    if kind is not Kind.S3 and (access_key_id or session_token_from_env):
        raise UsageError("--access-key-id and --session-token-from-env belong to --kind s3.")
    if access_key_id is not None:
        body["access_key_id"] = access_key_id
    if session_token_from_env is not None:
        body["session_token"] = _variable(session, session_token_from_env)
    if stdin and from_env is not None:
        raise UsageError("--secret-stdin and --from-env say two secrets; give one.")
    if from_env is not None:
        body[field] = _variable(session, from_env)
    elif stdin:
        body[field] = _line(question)
    elif kind is not Kind.WEBHOOK:
        body[field] = session.ask(question, hidden=True, instead="--secret-stdin or --from-env VARIABLE").strip()
    return body


def _line(question: str) -> str:
    text = sys.stdin.readline(MAX_SECRET).strip()
    if not text:
        raise UsageError(f"Stdin ended before: {question.lower()}.")
    return text


def _variable(session: Session, name: str) -> str:
    value = session.runtime.environ.get(name, "").strip()
    if not value:
        # The name is not repeated: the secret itself stands there when somebody took the option for its place.
        raise UsageError(
            "The variable that was named is not set, or empty.", advice="Name it, without $: --from-env HF_TOKEN"
        )
    return value


def _saved(session: Session, made: dict[str, Any], text: str) -> None:
    for warning in made["warnings"]:
        session.output.warn(warning)
    if made["secret"] is None:
        session.output.result(made, text)
        return
    session.output.note(text)
    session.output.warn(ONCE)
    session.output.result(made, str(made["secret"]))


def _state(credential: dict[str, Any]) -> str:
    if credential["tested_at"] is None:
        return "never tested"
    return f"{'passed' if credential['test_passed'] else 'failed'} {time_text(credential['tested_at'])}"
