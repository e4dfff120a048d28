"""What a deployment tells its operator at the end, and how secrets that are shown once reach them.

On a terminal they are printed. Anything else is kept by somebody: a CI system's log is read by many and for long. There
they go into files that only the operator's own user can read.
"""

from __future__ import annotations

import os
from pathlib import Path

from infra.errors import DeployError
from infra.options import DeployOptions, StackOutputs

#: Functions remember hashes that long (chalicelib/aws/parameters.py).
_REMEMBERED = "The one before works for up to a minute more."


def report(outputs: StackOutputs, options: DeployOptions, *, terminal: bool, folder: Path) -> list[str]:
    """The lines to print. Unless ``terminal``, writes secrets to files in ``folder``. Raises DeployError."""
    lines = ["", f"Served at {outputs.public_url}"]
    keep = None if terminal else folder
    if outputs.setup_code is not None:
        shown = _handed_over("Setup code", outputs.setup_code, keep, f"{options.stack_name}-setup-code")
        lines += ["", shown, "It makes the first admin, once. Only its SHA-256 is stored. Next:"]
        lines += [f"  stcloud setup --url {outputs.public_url}", "Lost it? Deploy again with --new-setup-code."]
        lines += [_REMEMBERED] if options.new_setup_code else []
    if outputs.deploy_token is not None:
        shown = _handed_over("Deploy token", outputs.deploy_token, keep, f"{options.stack_name}-deploy-token")
        lines += ["", shown, "An administrator's key for programs until there is an admin; then it opens nothing."]
        lines += [_REMEMBERED] if options.rotate_deploy_token else []
        token = "<the token above>" if keep is None else f"$(cat {keep / f'{options.stack_name}-deploy-token'})"
        lines += [f"  export STCLOUD_URL={outputs.public_url}", f"  export STCLOUD_TOKEN={token}", "  stcloud status"]
    return lines


def _handed_over(what: str, secret: str, folder: Path | None, name: str) -> str:
    if folder is None:
        return f"{what}: {secret}\nShown now and kept nowhere."
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A file that is there may be open to others, or lead elsewhere.
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
    except OSError as error:
        raise DeployError(
            f"The {what.lower()} was made and can't be written to {path}: {error}. Deploy again with --secrets-dir and "
            "--new-setup-code --rotate-deploy-token."
        ) from error
    return f"{what}: in {path}, which only you can read. It is in no log; delete the file when you have taken it."
