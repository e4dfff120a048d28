"""What the emulator and the Lambdas it runs may see of the developer's environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
DEFAULT_ACCOUNT = "123456789012"
REGION = "us-east-1"
#: Enough threads that calls waiting for a free worker can't starve the calls those workers make.
WORKER_THREADS = 192
_INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT")


@dataclass(frozen=True)
class Layout:
    """The folders below a state directory. ``tmp`` is emptied at every start, the others are the state."""

    root: Path

    @property
    def services(self) -> Path:
        return self.root / "services"

    @property
    def objects(self) -> Path:
        return self.root / "s3"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    def prepare(self) -> None:
        """Makes the folders, for this user alone: tokens and parameters are in them. Raises OSError."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        for folder in (self.root, self.services, self.objects, self.code, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)


def emulator_environment(
    inherited: Mapping[str, str],
    layout: Layout,
    *,
    port: int,
    account: str = DEFAULT_ACCOUNT,
    node: Path | None = None,
) -> dict[str, str]:
    """The whole environment of the emulator, and so of every Lambda: nothing of the developer's AWS profile, proxies,
    tokens or Python settings reaches code that would not have it on AWS.

    ``node`` is the program that runs CloudFront functions, when the one on PATH (if any) is not to be used.
    """
    env = {name: inherited[name] for name in _INHERITED if name in inherited}
    if node is not None:
        env["PATH"] = os.pathsep.join(p for p in (str(node.parent), env.get("PATH", "")) if p)
    return env | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "AUTH": "true",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(layout.services),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(layout.objects),
        "MINISTACK_ACCOUNT_ID": account,
        "MINISTACK_WORKER_THREADS": str(WORKER_THREADS),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": f"unix://{layout.tmp}/no-docker.sock",
        "HOME": str(layout.tmp),
        "TMPDIR": str(layout.tmp),
        "PYTHONNOUSERSITE": "1",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
