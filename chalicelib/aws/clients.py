"""boto3 clients: made at first use, shared by threads, bounded in time and retries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

#: Seconds. Every call of these services answers within a second or so when it answers at all.
CONNECT_TIMEOUT = 3
READ_TIMEOUT = 10
#: Attempts of one call, the first included; botocore waits up to a second or two in between.
ATTEMPTS = 3
#: Confirming an upload asks for 16 objects at once.
S3_CONNECTIONS = 32

#: Gives a client; called for each use, so that making one costs nothing until it is needed.
ClientSource = Callable[[], Any]


@dataclass(frozen=True)
class AccessKey:
    """A long-lived key of an IAM user. ``repr`` hides it."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


class Clients:
    """The clients of one process. Without ``root`` (a key, in tests) the process's own role signs.

    ``endpoint_url`` and ``s3_endpoint_url`` replace AWS's addresses; empty means AWS's own, or what AWS_ENDPOINT_URL
    says, which boto3 reads itself. S3's has its own setting because browsers, the CLI and the trainer use its URLs too.
    """

    def __init__(
        self, region: str, *, s3_endpoint_url: str = "", endpoint_url: str = "", root: AccessKey | None = None
    ) -> None:
        self._region = region
        self._s3_endpoint_url = s3_endpoint_url or endpoint_url
        self._endpoint_url = endpoint_url
        self._root = root
        # boto3's sessions are not safe to share while clients are made; the clients themselves are.
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}
        self._session: Any = None

    def s3(self) -> Any:
        return self._get("s3")

    def ssm(self) -> Any:
        return self._get("ssm")

    def stepfunctions(self) -> Any:
        return self._get("stepfunctions")

    def cognito(self) -> Any:
        return self._get("cognito-idp")

    def sns(self) -> Any:
        return self._get("sns")

    def lambdas(self) -> Any:
        """For starting functions and not waiting for them: gives up early, as nothing depends on it."""
        return self._get("lambda")

    def sts(self, key: AccessKey) -> Any:
        """A new STS client that signs with ``key``; the caller keeps and closes it."""
        with self._lock:
            return self._make("sts", key)

    def close(self) -> None:
        """Closes every connection; the next use makes new clients."""
        with self._lock:
            for client in self._made.values():
                client.close()
            self._made.clear()

    def _get(self, service: str) -> Any:
        made = self._made.get(service)
        if made is not None:
            return made
        with self._lock:
            if service not in self._made:
                self._made[service] = self._make(service, self._root)
            return self._made[service]

    def _make(self, service: str, key: AccessKey | None) -> Any:
        # 150 ms of CPU with the first client; a process that only imports us does not pay.
        import boto3

        if self._session is None:
            self._session = boto3.Session(region_name=self._region)
        endpoint_url = self._s3_endpoint_url if service == "s3" else self._endpoint_url
        return self._session.client(
            service,
            endpoint_url=endpoint_url or None,
            config=self._config(service),
            aws_access_key_id=key.access_key_id if key else None,
            aws_secret_access_key=key.secret_access_key if key else None,
        )

    def _config(self, service: str) -> Any:
        from botocore.config import Config

        options: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
        }
        if service == "lambda":
            options |= {"connect_timeout": 1, "read_timeout": 2, "retries": {"total_max_attempts": 1}}
        if _is_loopback(self._s3_endpoint_url):
            # An emulator on this computer is never behind a proxy, whatever HTTP_PROXY says.
            options["proxies"] = {}
        if service == "s3":
            options |= {
                "signature_version": "s3v4",
                "max_pool_connections": S3_CONNECTIONS,
                # Both are set by us where we want them; a CRC32 that botocore adds to a presigned PUT would have to be
                # sent by whoever uploads (https://github.com/boto/boto3/issues/4398).
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                # "virtual" and "regional" must be said: presigned URLs otherwise name the global host, which redirects
                # (and breaks CORS) until a new bucket is known everywhere (https://github.com/boto/boto3/issues/3015).
                "s3": {"addressing_style": "path"}
                if self._s3_endpoint_url
                else {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
            }
        return Config(**options)


def partition_of(region: str) -> str:
    """The ARN partition of a region."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
