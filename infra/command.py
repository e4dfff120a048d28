"""The command line of the deploy program."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import NoReturn

from infra.errors import DeployError
from infra.handover import report
from infra.options import ROOT, DeployOptions

DEFAULT_DIST = ROOT / "webui" / "dist"
DEFAULT_SECRETS = ROOT / ".local" / "secrets"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m infra.deploy",
        description="Deploys SimpleTuner Cloud to your AWS account (or, with --endpoint-url, to the local emulator).",
        epilog="The Replicate token is read from REPLICATE_API_TOKEN, from --provider-token-file, or asked for; never "
        "from an argument, which other users of this computer could see.",
    )
    add = made.add_argument
    add("--stage", required=True, help="names the stack: stcloud-<stage>; 'prod' is protected against deletion")
    add("--region", default=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1")
    add("--profile", help="profile of your AWS configuration")
    add("--endpoint-url", help="the local emulator, for example http://127.0.0.1:8002")
    add("--auth-mode", choices=["token", "local"], default="token", help="local: no token, on the emulator only")
    add("--sandbox", action="store_true", help="the provider is the sandbox; users are told so")
    add("--provider-base-url", default="https://api.replicate.com")
    add("--hub-url", default="", help="a Hub-compatible server in place of https://huggingface.co")
    add("--provider-token-file", type=Path, help="file that holds the Replicate token")
    add(
        "--public-url",
        default="",
        help="origin under which the stack is reached, if neither CloudFront's nor --custom-domain",
    )
    add("--custom-domain", default="", help="host name of your own")
    add("--certificate-arn", default="", help="its ACM certificate, in us-east-1")
    add("--alarm-topic-arn", default="", help="SNS topic that hears of alarms")
    add("--max-concurrent-jobs", type=int, default=5)
    add("--dataset-quota-bytes", type=int, default=1024**4)
    add("--outputs-retention-days", type=int, default=0, help="0 keeps models for ever (the default)")
    add("--log-retention-days", type=int, default=30)
    add("--web-dist", type=Path, default=DEFAULT_DIST, help="the built console")
    add("--no-web", action="store_true", help="leave the console alone")
    add("--stack-file", type=Path, help="write what was deployed there, as JSON")
    add("--port", type=int, help="the front door's port, for --stack-file")
    add("--sandbox-url", default="", help="the sandbox's origin, for --stack-file")
    add("--rotate-trainer-key", action="store_true", help="replace the key that trainers' sessions are made from")
    add("--rotate-deploy-token", action="store_true", help="replace the token; the old one ends within a minute")
    add("--new-setup-code", action="store_true", help="replace the one-time code that makes the first admin")
    add(
        "--secrets-dir",
        type=Path,
        default=DEFAULT_SECRETS,
        help="where setup code and deploy token are written when the output is no terminal",
    )
    add(
        "--only-through-distribution",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="refuse what did not come through CloudFront (default on AWS, unless --public-url names another way in)",
    )
    add("--mfa", choices=["optional", "on", "off"], default="optional", help="authenticator apps")
    add("--password-reset", choices=["admin", "mail"], default="admin", help="who resets a forgotten password")
    add("--password-minimum-length", type=int, default=12)
    add("--sign-in-domain", default="", help="prefix of Cognito's managed login pages, for single sign-on")
    add("--sign-in-callback-url", action="append", default=[], help="where they may send people back to (repeatable)")
    add(
        "--identity-provider",
        action="append",
        default=[],
        help="who may vouch for people, by the name it has in the user pool (repeatable; default: COGNITO, passwords)",
    )
    protection = made.add_mutually_exclusive_group()
    protection.add_argument("--deletion-protection", dest="protection", action="store_true", default=None)
    protection.add_argument("--no-deletion-protection", dest="protection", action="store_false")
    add("--destroy", action="store_true", help="delete the stack, its data and its models")
    add("--yes", action="store_true", help="with --destroy: do not ask")
    return made


def options_of(arguments: argparse.Namespace) -> DeployOptions:
    return DeployOptions(
        stage=arguments.stage,
        region=arguments.region,
        endpoint_url=arguments.endpoint_url.rstrip("/") if arguments.endpoint_url else None,
        profile=arguments.profile,
        auth_mode=arguments.auth_mode,
        sandbox=arguments.sandbox,
        provider_base_url=arguments.provider_base_url,
        hub_url=arguments.hub_url,
        provider_token=None if arguments.destroy else provider_token(arguments.provider_token_file),
        public_url=arguments.public_url,
        custom_domain=arguments.custom_domain,
        certificate_arn=arguments.certificate_arn,
        alarm_topic_arn=arguments.alarm_topic_arn,
        max_concurrent_jobs=arguments.max_concurrent_jobs,
        dataset_quota_bytes=arguments.dataset_quota_bytes,
        outputs_retention_days=arguments.outputs_retention_days,
        log_retention_days=arguments.log_retention_days,
        deletion_protection=arguments.protection,
        rotate_trainer_key=arguments.rotate_trainer_key,
        rotate_deploy_token=arguments.rotate_deploy_token,
        new_setup_code=arguments.new_setup_code,
        only_through_distribution=arguments.only_through_distribution,
        mfa=arguments.mfa,
        password_reset=arguments.password_reset,
        password_minimum_length=arguments.password_minimum_length,
        sign_in_domain=arguments.sign_in_domain,
        sign_in_callback_urls=tuple(arguments.sign_in_callback_url),
        identity_providers=tuple(arguments.identity_provider) or ("COGNITO",),
        web_dist=None if arguments.no_web or arguments.destroy else arguments.web_dist,
        stack_file=arguments.stack_file,
        port=arguments.port,
        sandbox_url=arguments.sandbox_url,
    )


def provider_token(file: Path | None) -> str | None:
    """From the file, else from the environment, else asked for on a terminal; None (also for an empty answer) leaves
    the stored one alone."""
    if file is not None:
        try:
            return file.read_text("utf-8").strip()
        except OSError as error:
            raise DeployError(f"The token file can't be read: {error}") from error
    given = os.environ.get("REPLICATE_API_TOKEN", "").strip()
    if given:
        return given
    if sys.stdin.isatty():
        return getpass.getpass("Replicate token (empty keeps the stored one): ").strip() or None
    return None


def main() -> None:
    """Exit code 0 on success, 1 on failure, 130 when interrupted."""
    # Imported late, so that --help and wrong arguments answer at once.
    from infra.deploy import deploy, destroy

    arguments = parser().parse_args()
    try:
        options = options_of(arguments)
        if arguments.destroy:
            if not arguments.yes:
                _confirm(options)
            print("Destroyed." if destroy(options, _say) else f"There is no stack {options.stack_name}.")
        else:
            outputs = deploy(options, _say)
            print("\n".join(report(outputs, options, terminal=sys.stdout.isatty(), folder=arguments.secrets_dir)))
    except DeployError as error:
        _fail(f"error: {error}", 1)
    except KeyboardInterrupt:
        _fail("\nInterrupted. What was done stays; run the same command again to go on.", 130)


def _say(line: str) -> None:
    print(f"- {line}", flush=True)


def _fail(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(code)


def _confirm(options: DeployOptions) -> None:
    if not sys.stdin.isatty():
        raise DeployError("--destroy asks before it deletes; without a terminal pass --yes.")
    print(f"This deletes {options.stack_name} with every job, dataset and model in it. There is no way back.")
    if input(f"Type {options.stack_name} to go on: ").strip() != options.stack_name:
        raise DeployError("Nothing was deleted.")
