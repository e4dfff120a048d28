"""SimpleTuner's S3 publisher: the whole output directory, to ``<base_path>/<its name>/<relative path>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from local.sandbox.trainer.console import Console
from local.sandbox.trainer.s3 import Access, Client, Connect, upload

NAMES = frozenset({"s3", "s3-compatible", "backblaze_b2", "b2"})


@dataclass(frozen=True)
class Target:
    """One destination; ``base_path`` without outer slashes."""

    client: Client
    bucket: str
    base_path: str
    single_part: bool


class Publisher:
    """Targets of ``publishing_config``. A failed upload is logged and the training goes on, as in SimpleTuner.

    ``withhold`` is the fault plan's ``no_publish`` (``weights`` or ``all``), ``truncate`` cuts weights in half.
    """

    def __init__(
        self,
        configs: Sequence[Mapping[str, Any]],
        connect: Connect,
        console: Console,
        *,
        withhold: str | None = None,
        truncate: bool = False,
    ) -> None:
        self._console = console
        self._withhold = withhold
        self._truncate = truncate
        self._targets = [_target(config, connect) for config in configs]

    def publish(self, output: Path) -> None:
        for target in self._targets:
            try:
                count = self._publish(target, output)
            except (BotoCoreError, Boto3Error, ClientError, OSError) as error:
                self._console.log("ERROR", f"Publishing via s3 failed: {error}")
            else:
                where = "/".join(part for part in (target.bucket, target.base_path, output.name) if part)
                self._console.log("INFO", f"Published {count} file(s) to s3://{where}")

    def _publish(self, target: Target, output: Path) -> int:
        files = sorted(path for path in output.rglob("*") if path.is_file())
        count = 0
        for path in files:
            weights = path.suffix == ".safetensors"
            if self._withhold == "all" or (self._withhold == "weights" and weights):
                continue
            relative = path.relative_to(output).as_posix()
            key = "/".join(part for part in (target.base_path, output.name, relative) if part)
            if weights and self._truncate:
                data = path.read_bytes()
                target.client.put_object(Bucket=target.bucket, Key=key, Body=data[: len(data) // 2])
            else:
                upload(target.client, path, target.bucket, key, single_part=target.single_part)
            count += 1
        return count


def _target(config: Mapping[str, Any], connect: Connect) -> Target:
    """Raises ValueError."""
    name = str(config.get("provider") or config.get("type") or "").strip().lower()
    if not name:
        raise ValueError("Each publishing_config entry must define a provider.")
    if name not in NAMES:
        raise ValueError(f"Unsupported publishing provider '{name}': the local sandbox publishes to S3 only.")
    if not config.get("bucket"):
        raise ValueError("S3 publishing requires a bucket name in publishing_config.")
    access = Access(
        endpoint_url=config.get("endpoint_url"),
        region=config.get("region") or config.get("region_name"),
        access_key_id=config.get("access_key") or config.get("aws_access_key_id"),
        secret_access_key=config.get("secret_key") or config.get("aws_secret_access_key"),
        session_token=config.get("session_token") or config.get("aws_session_token"),
    )
    return Target(
        client=connect(access),
        bucket=str(config["bucket"]),
        base_path=str(config.get("base_path") or "").strip("/").strip(),
        single_part=bool(config.get("force_single_part")),
    )
