"""The deploy program: the same steps for AWS and for the local emulator.

``python -m infra.deploy --help`` for people; ``deploy(options, say)`` for programs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from infra.audit import OperatorAudit, Record
from infra.buckets import Bucket, ensure_artifacts_bucket, forget_old_archives, publish_console
from infra.credentials import (
    SecretStore,
    TrainerKey,
    ensure_deploy_token,
    ensure_name_key,
    ensure_origin_secret,
    ensure_setup_code,
    put_provider_token,
)
from infra.errors import DeployError, explained
from infra.options import DeployOptions, StackOutputs
from infra.package import Package, package
from infra.session import Aws
from infra.stack import Stack

Say = Callable[[str], None]
#: The item of the keys table that says that there is, or was, a first admin (chalicelib/store/access.py).
FIRST_ADMIN = {"pk": {"S": "setup"}, "sk": {"S": "first-admin"}}


def deploy(options: DeployOptions, say: Say) -> StackOutputs:
    """Packages, creates or updates the stack, puts its secrets, publishes the console. Safe to repeat: whatever stands
    already is left alone, and an interrupted run is finished by the next one.

    ``say`` gets one line per step. Raises DeployError with advice.
    """
    options.check()
    with explained(), closing(Aws(options)) as aws:
        return _Deployment(options, say, aws).run()


def destroy(options: DeployOptions, say: Say) -> bool:
    """Deletes the stack with everything in it; False when there was none. Asks nobody.

    Raises DeployError, before anything is touched when the tables are protected against deletion.
    """
    options.check()
    with explained(), closing(Aws(options)) as aws:
        return _Deployment(options, say, aws).destroy()


class _Deployment:
    def __init__(self, options: DeployOptions, say: Say, aws: Aws) -> None:
        self._options, self._say, self._aws = options, say, aws
        self._caller = self._aws.identity()
        self._account = self._caller.account
        pace = 0.2 if options.on_emulator else 5.0
        self._stack = Stack(self._aws.client("cloudformation"), options.stack_name, say, poll_seconds=pace)
        self._store = SecretStore(self._aws.client("ssm"), options.ssm_prefix)
        self._trainer_key = TrainerKey(self._aws.client("iam"), self._store, f"{options.stack_name}-trainer", say)
        self._artifacts = self._bucket("artifacts")

    def _bucket(self, what: str) -> Bucket:
        return Bucket(self._aws.client("s3"), f"{self._options.stack_name}-{what}-{self._account}", self._account)

    def run(self) -> StackOutputs:
        options = self._options
        built = package(options.stage, on_emulator=options.on_emulator, build_dir=options.build_dir, say=self._say)
        template_url = self._upload(built)
        # The emulator's front door is on this computer, and so is everybody who comes through it.
        ensure_name_key(self._store)
        one_door = self._one_door()
        origin_secret = "" if options.on_emulator else ensure_origin_secret(self._store)
        changed = self._stack.apply(
            template_url,
            parameters(options, origin_secret, one_door=one_door),
            {"app": "simpletuner-cloud", "stage": options.stage},
        )
        self._say("The stack is up to date" if not changed else f"The stack {options.stack_name} stands")
        found = self._stack.outputs()
        if options.on_emulator:
            self._set_time_to_live(found["JobsTable"], found["KeysTable"])
        audit = OperatorAudit(
            self._aws.client("dynamodb"),
            found["AuditTable"],
            self._caller.arn,
            options.stack_name,
            ahead=self._caller.ahead,
        )
        put_provider_token(self._store, options.provider_token, self._say, audit.record)
        self._trainer_key.ensure(audit.record, rotate=options.rotate_trainer_key)
        has_admin = self._has_admin(found["KeysTable"])
        token, code = (None, None) if options.auth_mode == "local" else self._codes(audit.record, has_admin=has_admin)
        if options.web_dist is not None:
            publish_console(self._bucket("web"), options.web_dist, self._say)
            if not options.on_emulator:
                self._forget_cached_pages(found["DistributionId"], template_url)
        outputs = outputs_of(options, found, changed=changed, has_admin=has_admin, deploy_token=token, setup_code=code)
        if options.stack_file is not None:
            write_stack_file(options, outputs, options.stack_file)
        return outputs

    def destroy(self) -> bool:
        existed = self._stack.describe() is not None
        if existed:
            self._refuse_if_protected()
            for what in ("datasets", "outputs", "web"):
                count = self._bucket(what).empty()
                if count:
                    self._say(f"Deleted {count} objects of the {what} bucket")
            self._trainer_key.remove_all()
            self._stack.delete()
        self._store.remove(
            "replicate-token", "trainer-key", "deploy-token-sha256", "setup-code-sha256", "origin-secret", "name-key"
        )
        count = self._store.remove_below("credentials")
        if count:
            self._say(f"Deleted {count} secrets of destinations")
        if self._artifacts.empty() or existed:
            self._aws.client("s3").delete_bucket(Bucket=self._artifacts.name, ExpectedBucketOwner=self._account)
        return existed

    def _has_admin(self, keys_table: str) -> bool:
        found = self._aws.client("dynamodb").get_item(TableName=keys_table, Key=FIRST_ADMIN, ConsistentRead=True)
        return "Item" in found

    def _one_door(self) -> bool:
        """Whether the API refuses what did not come through the distribution: not in the very deployment in which a
        standing distribution learns its secret, for it takes minutes until that is everywhere."""
        options = self._options
        if not options.one_door:
            return False
        known = self._store.read("origin-secret") is not None
        if known or self._stack.describe() is None:
            return True
        self._say(
            "The distribution learns now how to prove itself. Deploy again when this is done: from then on the API "
            "refuses whatever did not come through it."
        )
        return False

    def _codes(self, record: Record, *, has_admin: bool) -> tuple[str | None, str | None]:
        """Deploy token and setup code as far as they were made now. An admin ends both: what is stored of them goes."""
        options = self._options
        if has_admin:
            self._store.remove("deploy-token-sha256", "setup-code-sha256")
            if options.rotate_deploy_token or options.new_setup_code:
                self._say(
                    "There is an admin, so neither deploy token nor setup code opens anything any more, and none was "
                    "made. Sign in as an admin (stcloud login) and make an API key (stcloud keys create)."
                )
            return None, None
        token = ensure_deploy_token(self._store, record, rotate=options.rotate_deploy_token)
        return token, ensure_setup_code(self._store, record, renew=options.new_setup_code)

    def _upload(self, built: Package) -> str:
        """Uploads code and template under names made of their content; returns the template's URL."""
        bucket, options = self._artifacts, self._options
        ensure_artifacts_bucket(bucket, options.region, on_emulator=options.on_emulator)
        for key, archive in built.archives.items():
            if not bucket.has(key):
                self._say(f"Uploading the code ({archive.stat().st_size / 1e6:.1f} MB)")
                bucket.put(key, archive.read_bytes(), content_type="application/zip")
        template = json.dumps(built.located(bucket.name), sort_keys=True).encode()
        template_key = f"templates/{hashlib.sha256(template).hexdigest()}.json"
        bucket.put(template_key, template, content_type="application/json")
        for prefix in ("code/", "templates/"):
            forget_old_archives(bucket, prefix)
        if options.endpoint_url is not None:
            return f"{options.endpoint_url}/{bucket.name}/{template_key}"
        return f"https://{bucket.name}.s3.{options.region}.amazonaws.com/{template_key}"

    def _set_time_to_live(self, *tables: str) -> None:
        """The emulator's CloudFormation takes TimeToLiveSpecification and does nothing with it (ministack 1.5.33)."""
        dynamodb = self._aws.client("dynamodb")
        for table in tables:
            state = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
            if state.get("TimeToLiveStatus") not in {"ENABLED", "ENABLING"}:
                dynamodb.update_time_to_live(
                    TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
                )

    def _forget_cached_pages(self, distribution: str, reference: str) -> None:
        # Pages are asked for again each time (no-cache), so this only shortens the distribution's own second of memory
        # and drops error pages of files that exist by now.
        self._aws.client("cloudfront").create_invalidation(
            DistributionId=distribution,
            InvalidationBatch={
                "Paths": {"Quantity": 1, "Items": ["/*"]},
                "CallerReference": hashlib.sha256(reference.encode() + os.urandom(8)).hexdigest(),
            },
        )

    def _refuse_if_protected(self) -> None:
        dynamodb = self._aws.client("dynamodb")
        tables = self._stack.outputs()
        for output in ("JobsTable", "KeysTable", "AuditTable"):
            name = tables.get(output)
            if name and dynamodb.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
                raise DeployError(
                    f"The table {name} is protected against deletion, so nothing was touched. If you really want to "
                    f"lose every job, dataset and model of stage {self._options.stage}: deploy it once with "
                    "--no-deletion-protection, then destroy it."
                )


def parameters(options: DeployOptions, origin_secret: str = "", *, one_door: bool = False) -> dict[str, str]:
    """The template's parameters for these options."""
    values = {
        "Stage": options.stage,
        "IsEmulator": _flag(options.on_emulator),
        "AuthMode": options.auth_mode,
        "Sandbox": _flag(options.sandbox),
        "ProviderBaseUrl": options.provider_base_url,
        "HubUrl": options.hub_url,
        "S3EndpointUrl": options.s3_endpoint_url or options.endpoint_url or "",
        "PublicUrl": options.public_url,
        "CustomDomain": options.custom_domain,
        "CertificateArn": options.certificate_arn,
        "OriginSecret": origin_secret,
        "OriginSecretSha256": hashlib.sha256(origin_secret.encode()).hexdigest() if origin_secret else "",
        "OnlyThroughDistribution": _flag(one_door),
        "MaxConcurrentJobs": str(options.max_concurrent_jobs),
        "DatasetQuotaBytes": str(options.dataset_quota_bytes),
        "OutputsRetentionDays": str(options.outputs_retention_days),
        "LogRetentionDays": str(options.log_retention_days),
        "DeletionProtection": _flag(options.protected),
        "AlarmTopicArn": options.alarm_topic_arn,
        "MfaMode": options.mfa.upper(),
        "PasswordReset": options.password_reset.upper(),
        "PasswordMinimumLength": str(options.password_minimum_length),
        "SignInDomain": options.sign_in_domain,
        "IdentityProviders": ",".join(options.identity_providers),
    }
    if options.sign_in_callback_urls:
        values["SignInCallbackUrls"] = ",".join(options.sign_in_callback_urls)
    if options.endpoint_url is not None:
        values["EmulatorPort"] = str(urlsplit(options.endpoint_url).port or 80)
    return values


def _flag(value: bool) -> str:
    return "true" if value else "false"


def outputs_of(
    options: DeployOptions,
    found: Mapping[str, str],
    *,
    changed: bool,
    has_admin: bool = False,
    deploy_token: str | None = None,
    setup_code: str | None = None,
) -> StackOutputs:
    try:
        return StackOutputs(
            stage=options.stage,
            region=options.region,
            public_url=found["PublicUrl"],
            api_id=found["RestAPIId"],
            distribution_id=found["DistributionId"],
            distribution_domain=found["DistributionDomain"],
            datasets_bucket=found["DatasetsBucket"],
            outputs_bucket=found["OutputsBucket"],
            web_bucket=found["WebBucket"],
            jobs_table=found["JobsTable"],
            keys_table=found["KeysTable"],
            audit_table=found["AuditTable"],
            user_pool_id=found["UserPoolId"],
            user_pool_client_id=found["UserPoolClientId"],
            state_machine_arn=found["StateMachineArn"],
            changed=changed,
            has_admin=has_admin,
            deploy_token=deploy_token,
            setup_code=setup_code,
        )
    except KeyError as missing:
        raise DeployError(
            f"The stack {options.stack_name} lacks the output {missing}; was it made by this program?"
        ) from None


def write_stack_file(options: DeployOptions, outputs: StackOutputs, path: Path) -> None:
    """What local programs need to find the stack; written whole or not at all. Holds no secret."""
    document = {
        "stage": outputs.stage,
        "port": options.port,
        "public_url": outputs.public_url,
        "emulator_url": options.endpoint_url,
        "sandbox_url": options.sandbox_url,
        "api_id": outputs.api_id,
        "distribution_domain": outputs.distribution_domain,
        "datasets_bucket": outputs.datasets_bucket,
        "outputs_bucket": outputs.outputs_bucket,
        "web_bucket": outputs.web_bucket,
        "jobs_table": outputs.jobs_table,
        "keys_table": outputs.keys_table,
        "audit_table": outputs.audit_table,
        "user_pool_id": outputs.user_pool_id,
        "user_pool_client_id": outputs.user_pool_client_id,
        "state_machine_arn": outputs.state_machine_arn,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(document, indent=2) + "\n")
    unfinished.replace(path)


if __name__ == "__main__":
    from infra.command import main

    main()
