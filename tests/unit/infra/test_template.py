"""The template: names others rely on, one narrow role per function, nothing public, everything bounded."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from chalice.app import Chalice

from chalicelib.delivery.hooks import SECONDS
from chalicelib.domain.messages import LEASE
from chalicelib.events.archives import archives
from chalicelib.events.deliveries import deliveries
from chalicelib.events.inspection import inspection_tasks
from chalicelib.events.notifications import notifications
from chalicelib.events.tasks import ARCHIVE_BUDGET, DELIVERY_BUDGET, SEAL_BUDGET, SWEEP_BUDGET, tasks
from chalicelib.settings import Settings
from chalicelib.workflow.notifying import BUDGET
from chalicelib.workflow.unpack_piece import BUDGET as PIECE_BUDGET
from chalicelib.workflow.unpack_plan import BUDGET as PLAN_BUDGET
from chalicelib.workflow.verification import FILE_BUDGET, VERIFY_BUDGET
from infra.template_parts import TemplateError, load_template
from tests.unit.infra.described import (
    FUNCTIONS,
    RESOURCES,
    TEMPLATE,
    as_list,
    logical_name,
    of_type,
    reads,
    role_of,
    statements,
)

#: Actions that know no resource, by statement.
WITHOUT_RESOURCE = {
    "Wake": ["states:SendTaskSuccess"],
    "MailSubscriptions": ["sns:GetSubscriptionAttributes", "sns:Unsubscribe"],
    "LookAtSubscriptions": ["sns:GetSubscriptionAttributes"],
    "DeliverLogs": [
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    ],
}


IDENTITIES = [n for n, r in RESOURCES.items() if r.get("Type") in {"AWS::IAM::Role", "AWS::IAM::User"}]


def test_every_function_of_the_code_is_configured() -> None:
    probe = Chalice(app_name="probe")
    for blueprint in (tasks, inspection_tasks, archives, deliveries, notifications):
        probe.register_blueprint(blueprint)
    in_code = {f.name for f in probe.pure_lambda_functions}
    assert set(FUNCTIONS) == in_code | {"api_handler"}


def test_every_function_has_its_own_role_log_group_and_name() -> None:
    roles, groups, names = set(), set(), set()
    for function in FUNCTIONS:
        properties = RESOURCES[logical_name(function)]["Properties"]
        roles.add(role_of(function))
        groups.add(properties["LoggingConfig"]["LogGroup"]["Ref"])
        names.add(properties["FunctionName"]["Fn::Sub"])
        group = RESOURCES[properties["LoggingConfig"]["LogGroup"]["Ref"]]["Properties"]["LogGroupName"]["Fn::Sub"]
        assert group == f"/aws/lambda/{properties['FunctionName']['Fn::Sub']}"
    assert len(roles) == len(groups) == len(names) == len(FUNCTIONS)


@pytest.mark.parametrize("name", IDENTITIES)
def test_no_policy_is_wider_than_it_must_be(name: str) -> None:
    found = statements(name)
    assert found
    for statement in found:
        if statement["Effect"] == "Deny":
            continue
        assert "NotAction" not in statement
        assert "NotResource" not in statement
        assert not [a for a in as_list(statement["Action"]) if "*" in a]
        if statement["Resource"] == "*":
            assert as_list(statement["Action"]) == WITHOUT_RESOURCE[statement["Sid"]]
        else:
            for resource in as_list(statement["Resource"]):
                assert resource != "*"
                text = json.dumps(resource)
                # On the emulator alone the federation has no resource; on AWS it has.
                if '"*"' in text:
                    assert resource["Fn::If"][0] == "OnEmulator"
                    assert statement["Action"] == "sts:GetFederationToken"


def test_only_the_lambda_service_assumes_the_roles_of_functions() -> None:
    for function in FUNCTIONS:
        (statement,) = RESOURCES[role_of(function)]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_the_trainer_key_is_for_launch_alone_and_the_provider_token_for_those_who_ask_the_provider() -> None:
    assert [f for f in FUNCTIONS if "trainer-key" in reads(f)] == ["launch"]
    assert {f for f in FUNCTIONS if "replicate-token" in reads(f)} == {"api_handler", "launch", "observe", "sweep"}
    assert [f for f in FUNCTIONS if "deploy-token-sha256" in reads(f)] == ["api_handler"]
    assert not [f for f in FUNCTIONS if "*" in reads(f)]


#: What each state machine runs, by the beginning of the functions' names. The rest are steps of a job.
WORKFLOWS = {
    "InspectionWorkflow": ("inspect_",),
    "UnpackWorkflow": ("archive_",),
    "DeliveryWorkflow": ("deliver_",),
}


@pytest.mark.parametrize("workflow", ["JobWorkflow", *WORKFLOWS])
def test_a_workflow_may_run_exactly_its_steps(workflow: str) -> None:
    invoke = next(s for s in statements(f"{workflow}Role") if s["Action"] == "lambda:InvokeFunction")
    allowed = {r["Fn::GetAtt"][0] for r in invoke["Resource"]}
    others = {"api_handler", "sweep", "notify"}
    of_others = {f for f in FUNCTIONS if f.startswith(sum(WORKFLOWS.values(), ()))} | others
    own = (
        {f for f in FUNCTIONS if f.startswith(WORKFLOWS[workflow])}
        if workflow in WORKFLOWS
        else set(FUNCTIONS) - of_others
    )
    assert allowed == {logical_name(f) for f in own}
    substitutions = RESOURCES[workflow]["Properties"]["DefinitionSubstitutions"]
    definition = RESOURCES[workflow]["Properties"]["DefinitionString"]
    assert set(substitutions) == set(re.findall(r"\$\{(\w+)\}", definition))
    assert {v["Fn::GetAtt"][0] for v in substitutions.values()} == allowed


def test_steps_of_unpacking_end_before_their_functions() -> None:
    machine = json.loads(RESOURCES["UnpackWorkflow"]["Properties"]["DefinitionString"])
    steps = [*machine["States"].values(), *machine["States"]["Unpack"]["ItemProcessor"]["States"].values()]
    for step in (s for s in steps if s["Type"] == "Task"):
        assert step["TimeoutSeconds"] > FUNCTIONS["archive_unpack"]["lambda_timeout"]
        assert [r["ErrorEquals"][-1] for r in step["Retry"]][-1] == "States.ALL"
    # Everything that goes wrong for good is recorded.
    for name in ("Plan", "Unpack", "Assemble"):
        assert machine["States"][name]["Catch"] == [
            {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "GiveUp"}
        ]
    for budget in (PLAN_BUDGET, PIECE_BUDGET):
        assert budget.total_seconds() + 60 <= FUNCTIONS["archive_unpack"]["lambda_timeout"]


def test_the_trainer_user_publishes_below_artifacts_and_deletes_in_scratch_only() -> None:
    for statement in statements("TrainerUser"):
        text = json.dumps(statement["Resource"])
        if "s3:PutObject" in statement["Action"]:
            assert "/_scratch/*" in text or "/*/artifacts/*" in text
        if "s3:DeleteObject" in statement["Action"]:
            assert "/_scratch/*" in text
            assert "artifacts" not in text


def test_the_environment_is_what_the_settings_read() -> None:
    given = set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])
    known = {f"STC_{name.upper()}" for name in Settings.model_fields}
    required = {f"STC_{n.upper()}" for n, f in Settings.model_fields.items() if f.is_required()}
    assert given <= known
    assert required <= given
    assert "STC_STATE_MACHINE_ARN" in given


def test_the_times_fit_together() -> None:
    lease = Settings.model_fields["launch_lease_seconds"].default
    # A launch that could outlive its lease could create a second prediction.
    assert FUNCTIONS["launch"]["lambda_timeout"] < lease
    # API Gateway gives up after 29 seconds.
    assert FUNCTIONS["api_handler"]["lambda_timeout"] <= 29
    sweep = SWEEP_BUDGET + ARCHIVE_BUDGET + DELIVERY_BUDGET + SEAL_BUDGET
    assert sweep.total_seconds() + 20 <= FUNCTIONS["sweep"]["lambda_timeout"]
    assert VERIFY_BUDGET < FILE_BUDGET
    assert FILE_BUDGET.total_seconds() + 60 <= FUNCTIONS["verify"]["lambda_timeout"] <= 900


@pytest.mark.parametrize("name", ["JobsTable", "KeysTable", "AuditTable"])
def test_the_tables_are_kept_safe(name: str) -> None:
    table = RESOURCES[name]["Properties"]
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    # Records of the audit don't expire: TTL would be a way to delete them.
    ttl = None if name == "AuditTable" else {"AttributeName": "expires_at", "Enabled": True}
    assert table.get("TimeToLiveSpecification") == ttl
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] == {"Fn::If": ["Protected", True, False]}
    assert table["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


def test_the_indexes_are_those_of_the_store() -> None:
    indexes = RESOURCES["JobsTable"]["Properties"]["GlobalSecondaryIndexes"]
    assert {i["IndexName"]: [k["AttributeName"] for k in i["KeySchema"]] for i in indexes} == {
        "active-index": ["active_pk", "active_sk"],
        "owner-index": ["owner_pk", "owner_sk"],
        "month-index": ["month_pk", "month_sk"],
        "prediction-index": ["prediction_pk"],
    }
    assert all(i["Projection"] == {"ProjectionType": "ALL"} for i in indexes)
    used = {k["AttributeName"] for i in indexes for k in i["KeySchema"]} | {"pk", "sk"}
    assert {a["AttributeName"] for a in RESOURCES["JobsTable"]["Properties"]["AttributeDefinitions"]} == used


@pytest.mark.parametrize("name", list(of_type("AWS::S3::Bucket")))
def test_no_bucket_is_public_and_unfinished_uploads_go(name: str) -> None:
    bucket = RESOURCES[name]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]
    assert any("AbortIncompleteMultipartUpload" in rule for rule in bucket["LifecycleConfiguration"]["Rules"])
    policies = [p for p in of_type("AWS::S3::BucketPolicy").values() if p["Bucket"] == {"Ref": name}]
    assert "aws:SecureTransport" in json.dumps(policies)


def test_the_trainers_scratch_space_goes_after_three_days() -> None:
    rules = RESOURCES["DatasetsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert {"Id": "scratch", "Status": "Enabled", "Prefix": "_scratch/", "ExpirationInDays": 3} in rules
    # Dataset versions are immutable: no rule may touch anything that no underscore sets apart.
    prefixes = [r.get("Prefix") for r in rules if "ExpirationInDays" in r]
    assert "_staging/" in prefixes
    assert [p for p in prefixes if not p.startswith("_") or p.startswith(("_manifests", "_reports"))] == []


def test_pages_get_a_strict_content_security_policy() -> None:
    headers = RESOURCES["PageHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    template, values = headers["ContentSecurityPolicy"]["ContentSecurityPolicy"]["Fn::Sub"]
    policy = dict(rule.split(" ", 1) for rule in template.split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' ${Outputs}",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    hosts = values["Outputs"]["Fn::If"][2]["Fn::Sub"].split()
    bucket = RESOURCES["OutputsBucket"]["Properties"]["BucketName"]["Fn::Sub"]
    assert hosts == [f"https://{bucket}.s3{region}.${{AWS::URLSuffix}}" for region in (".${AWS::Region}", "")]
    assert headers["ContentTypeOptions"] == {"Override": True}
    assert headers["StrictTransportSecurity"]["Fn::If"][2]["AccessControlMaxAgeSec"] >= 31536000


def test_every_page_is_served_with_the_same_headers() -> None:
    config = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    assert config["DefaultCacheBehavior"]["ResponseHeadersPolicyId"] == {"Ref": "PageHeaders"}
    assert [behaviour["PathPattern"] for behaviour in config["CacheBehaviors"]] == ["/api/*"]


def test_the_api_is_never_cached_and_keeps_its_own_host() -> None:
    behaviours = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]["CacheBehaviors"]
    api = next(b for b in behaviours if b["PathPattern"] == "/api/*")
    assert api["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert api["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    assert api["ViewerProtocolPolicy"]["Fn::If"][2] == "https-only"
    assert set(api["AllowedMethods"]) >= {"GET", "POST", "PUT", "DELETE"}


def test_a_gateways_timeout_does_not_invite_to_pay_twice() -> None:
    responses = RESOURCES["RestAPI"]["Properties"]["GatewayResponses"]
    detail = json.loads(responses["DEFAULT_5XX"]["ResponseTemplates"]["application/json"])["detail"]
    assert "may have done it all the same" in detail
    assert "same Idempotency-Key" in detail


@pytest.mark.parametrize("name", list(RESOURCES["RestAPI"]["Properties"]["GatewayResponses"]))
def test_what_the_gateway_answers_by_itself_is_a_problem_like_the_others(name: str) -> None:
    response = RESOURCES["RestAPI"]["Properties"]["GatewayResponses"][name]
    document = json.loads(response["ResponseTemplates"]["application/json"])
    assert set(document) == {"type", "title", "status", "detail", "code", "error", "request_id", "errors"}
    assert str(document["status"]) == response["StatusCode"]
    assert document["type"].endswith(f":{document['code']}")
    assert response["ResponseParameters"]["Headers"]["Content-Type"] == "'application/problem+json'"


def test_local_auth_is_refused_on_aws_by_the_template_itself() -> None:
    rule = TEMPLATE["Rules"]["NobodyIsAdministratorOnAws"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "IsEmulator"}, "false"]}
    assert rule["Assertions"][0]["Assert"] == {"Fn::Equals": [{"Ref": "AuthMode"}, "token"]}


def test_no_log_is_kept_for_ever_and_the_workflow_logs_no_tokens() -> None:
    assert all("RetentionInDays" in g for g in of_type("AWS::Logs::LogGroup").values())
    logging = RESOURCES["JobWorkflow"]["Properties"]["LoggingConfiguration"]
    assert logging["IncludeExecutionData"] is False


@pytest.mark.parametrize("function", ["Sweep", "Notify"])
def test_what_runs_every_minute_is_on_a_schedule_that_alone_may_call_it(function: str) -> None:
    assert set(of_type("AWS::Events::Rule")) == {"SweepSchedule", "NotifySchedule"}
    rule = RESOURCES[f"{function}Schedule"]["Properties"]
    assert (rule["State"], rule["ScheduleExpression"]) == ("ENABLED", "rate(1 minute)")
    assert rule["Targets"][0]["Arn"] == {"Fn::GetAtt": [function, "Arn"]}
    assert len(of_type("AWS::Lambda::Permission")) == 2
    permission = RESOURCES[f"{function}Permission"]["Properties"]
    assert permission["FunctionName"] == {"Ref": function}
    assert permission["SourceArn"] == {"Fn::GetAtt": [f"{function}Schedule", "Arn"]}
    # What failed is not tried again: the next run is a minute away.
    assert RESOURCES[f"{function}Once"]["Properties"]["MaximumRetryAttempts"] == 0


def test_the_sender_of_notifications_ends_in_time_and_sees_nothing_else() -> None:
    # The last try, with the look-up of its name, and what is written afterwards.
    assert BUDGET.total_seconds() + SECONDS + 15 < FUNCTIONS["notify"]["lambda_timeout"]
    assert timedelta(seconds=SECONDS + 15) < LEASE
    records = next(s for s in statements("NotifyRole") if s["Sid"] == "Notifications")
    assert records["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["outbox", "due-messages", "channels#*", "messages#*"]}
    }
    assert "dynamodb:Scan" not in records["Action"]
    waking = {f for f in FUNCTIONS for s in statements(role_of(f)) if s.get("Sid") == "WakeTheSender"}
    assert waking == {"api_handler", "observe", "finish", "sweep", "deliver_model"}


def test_no_secret_is_in_the_template() -> None:
    names = [p["Name"]["Fn::Sub"] for p in of_type("AWS::SSM::Parameter").values()]
    assert names == ["/stcloud/${Stage}/public-url"]
    assert not of_type("AWS::IAM::AccessKey")


def test_nested_short_tags_are_resolved_and_names_defined_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("Resources:\n  A: !If [C, [!Sub 'x-${Y}'], !GetAtt B.Arn]\n  T: !TextFile t.js\n")
    (tmp_path / "t.js").write_text("code")
    assert load_template(tmp_path) == {
        "Resources": {"A": {"Fn::If": ["C", [{"Fn::Sub": "x-${Y}"}], {"Fn::GetAtt": ["B", "Arn"]}]}, "T": "code"}
    }
    (tmp_path / "b.yaml").write_text("Resources:\n  A: 1\n")
    with pytest.raises(TemplateError, match=r"b\.yaml defines A of Resources a second time"):
        load_template(tmp_path)
