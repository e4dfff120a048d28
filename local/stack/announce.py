"""What is served where, and what to try next."""

from __future__ import annotations

from local.stack.layout import DEFAULT_PORT, Ports

STCLOUD = ".local/venv/bin/stcloud"


def announcement(ports: Ports, *, detached: bool, elsewhere: bool = False, people: bool = False) -> str:
    """Shown when the stack is up: in the background (``detached``), or in a terminal, which may be another one than
    this (``elsewhere``). ``people``: it has an admin, so whoever asks has to sign in."""
    url = ports.public_url
    lines = [
        "",
        f"SimpleTuner Cloud is up: {url}",
        "",
        f"  Console       {url}",
        f"  API           {url}/api/cloud      its description: {url}/docs",
        f"  AWS emulator  {ports.emulator_url}      key test, secret test, region us-east-1",
        f"  Sandbox       {ports.sandbox_url}      stands for Replicate; nothing is billed",
        f"  Sandbox Hub   {ports.hub_url}  stands for huggingface.co; its token is hf_sandbox",
        "",
        "Try next:",
        f"  {STCLOUD} login --url {url}" if people else f"  curl {url}/api/cloud/jobs",
        *([] if ports.front_door == DEFAULT_PORT else [f"  export STCLOUD_URL={url}"]),
        f"  {STCLOUD} status",
        f"  {STCLOUD} jobs list",
        f"  {STCLOUD} datasets push ./my-images",
        "",
        *_endings(detached, elsewhere),
    ]
    return "\n".join(lines)


def _endings(detached: bool, elsewhere: bool) -> list[str]:
    if detached:
        return ["`make stop` ends it and keeps your jobs, `make logs` shows what it does, `make reset` begins anew."]
    if elsewhere:
        return [
            "It belongs to the terminal it was started in: Ctrl-C there ends it and keeps your jobs, and so does "
            "`make stop` here."
        ]
    return ["Ctrl-C ends it and keeps your jobs. In another terminal: `make logs`, `make status`, `make reset`."]
