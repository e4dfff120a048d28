"""What a deployment is told, and what it answers."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from infra.errors import DeployError

ROOT = Path(__file__).resolve().parent.parent
PRODUCTION = "prod"


@dataclass(frozen=True)
class DeployOptions:
    """One deployment. ``endpoint_url`` means the emulator, which must be on this computer's loopback address; without
    it the target is AWS.

    ``provider_token`` None leaves the stored one alone. ``web_dist`` None leaves the console alone. ``port`` and
    ``sandbox_url`` only go into ``stack_file``. ``deletion_protection`` None means: on in production on AWS.
    ``only_through_distribution`` None means: on AWS, when the public URL is the distribution's. ``hub_url`` is where
    models are delivered to when the destination is the Hugging Face Hub; empty means huggingface.co.
    """

    stage: str
    region: str = "us-east-1"
    endpoint_url: str | None = None
    profile: str | None = None
    auth_mode: Literal["local", "token"] = "token"
    sandbox: bool = False
    provider_base_url: str = "https://api.replicate.com"
    hub_url: str = ""
    provider_token: str | None = field(default=None, repr=False)
    public_url: str = ""
    s3_endpoint_url: str = ""
    custom_domain: str = ""
    certificate_arn: str = ""
    alarm_topic_arn: str = ""
    max_concurrent_jobs: int = 5
    dataset_quota_bytes: int = 1024**4
    outputs_retention_days: int = 0
    log_retention_days: int = 30
    mfa: Literal["off", "optional", "on"] = "optional"
    password_reset: Literal["admin", "mail"] = "admin"  # noqa: S105 - who does it
    password_minimum_length: int = 12
    sign_in_domain: str = ""
    sign_in_callback_urls: tuple[str, ...] = ()
    identity_providers: tuple[str, ...] = ("COGNITO",)
    deletion_protection: bool | None = None
    rotate_trainer_key: bool = False
    rotate_deploy_token: bool = False
    new_setup_code: bool = False
    only_through_distribution: bool | None = None
    web_dist: Path | None = None
    stack_file: Path | None = None
    port: int | None = None
    sandbox_url: str = ""
    build_dir: Path = ROOT / "build"

    @property
    def on_emulator(self) -> bool:
        return self.endpoint_url is not None

    @property
    def stack_name(self) -> str:
        return f"stcloud-{self.stage}"

    @property
    def ssm_prefix(self) -> str:
        return f"/stcloud/{self.stage}"

    @property
    def protected(self) -> bool:
        if self.deletion_protection is not None:
            return self.deletion_protection
        return self.stage == PRODUCTION and not self.on_emulator

    @property
    def one_door(self) -> bool:
        """Whether the API shall refuse what did not come through the distribution."""
        if self.only_through_distribution is not None:
            return self.only_through_distribution
        return not self.on_emulator and not self.public_url

    def check(self) -> None:
        """Raises DeployError on what can't be right, before anything is touched."""
        if not re.fullmatch(r"[a-z][a-z0-9-]{1,15}", self.stage):
            raise DeployError(f"'{self.stage}' can't name a stage: use 2 to 16 small letters, digits and hyphens.")
        if self.endpoint_url is not None and not is_loopback(self.endpoint_url):
            raise DeployError(
                f"{self.endpoint_url} is not on this computer. --endpoint-url is for the local emulator; leave it out "
                "for AWS."
            )
        if self.auth_mode == "local" and not self.on_emulator:
            raise DeployError("auth mode 'local' makes every caller the administrator; it works on the emulator alone.")
        if self.only_through_distribution and self.on_emulator:
            raise DeployError("--only-through-distribution is for AWS: the emulator's distribution has no secret.")
        for name, url in (
            ("public URL", self.public_url),
            ("provider URL", self.provider_base_url),
            ("Hub URL", self.hub_url),
        ):
            if url and (urlsplit(url).scheme not in {"http", "https"} or url.endswith("/")):
                raise DeployError(f"The {name} '{url}' must be an http(s) origin without a slash at the end.")
        if not self.on_emulator and self.public_url.startswith("http://"):
            raise DeployError("On AWS the public URL must be https: tokens and webhooks travel to it.")
        if not self.on_emulator and self.hub_url.startswith("http://"):
            raise DeployError("On AWS the Hub's URL must be https: tokens and models travel to it.")
        if bool(self.custom_domain) != bool(self.certificate_arn):
            raise DeployError("--custom-domain and --certificate-arn go together.")
        self._check_sign_in()
        if self.web_dist is not None and not (self.web_dist / "index.html").is_file():
            raise DeployError(
                f"{self.web_dist} holds no built console. Build it (cd webui && npm ci && npm run build) or pass "
                "--no-web."
            )

    def _check_sign_in(self) -> None:
        if not 8 <= self.password_minimum_length <= 99:
            raise DeployError("--password-minimum-length goes from 8 to 99, as Cognito has it.")
        if bool(self.sign_in_domain) != bool(self.sign_in_callback_urls):
            raise DeployError("--sign-in-domain and --sign-in-callback-url go together.")
        for url in self.sign_in_callback_urls:
            if urlsplit(url).scheme != "https" and not is_loopback(url):
                raise DeployError(f"Managed login can send people back to https only, and {url} is not.")
        if not self.identity_providers:
            raise DeployError("Nobody could sign in: name at least one --identity-provider (COGNITO: the pool itself).")


@dataclass(frozen=True)
class StackOutputs:
    """The deployed stack. ``deploy_token`` and ``setup_code`` are set only by the run that made them: nobody can read
    them again. ``has_admin`` tells whether there is, or was, a first admin: both open nothing then. ``changed`` tells
    whether CloudFormation had anything to do."""

    stage: str
    region: str
    public_url: str
    api_id: str
    distribution_id: str
    distribution_domain: str
    datasets_bucket: str
    outputs_bucket: str
    web_bucket: str
    jobs_table: str
    keys_table: str
    audit_table: str
    user_pool_id: str
    user_pool_client_id: str
    state_machine_arn: str
    changed: bool
    has_admin: bool = False
    deploy_token: str | None = field(default=None, repr=False)
    setup_code: str | None = field(default=None, repr=False)


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this computer and nobody else can be meant."""
    host = urlsplit(url).hostname
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
