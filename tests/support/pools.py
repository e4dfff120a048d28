"""User pools for tests: in memory, and on the emulator with the template's settings and the API's rights."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import time
import uuid
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.cognito import CognitoUserPool
from chalicelib.aws.jwks import JwksVerifier, pool_verifier
from chalicelib.domain.access_ports import ChallengeError, SessionVerifier, Tokens, UserPool
from chalicelib.domain.people import Session
from chalicelib.domain.permissions import Role
from infra.template_parts import load_template
from tests.fakes.clock import FakeClock
from tests.fakes.pool import CODE, FakeUserPool, FakeVerifier
from tests.support.emulator import Emulator

PASSWORD = "Correct-Horse-1"
RESOURCES: dict[str, Any] = load_template()["Resources"]


class Stage(Protocol):
    """A pool with what the test does in the place of other people and of the mail."""

    pool: UserPool
    verifier: SessionVerifier

    def now(self) -> datetime: ...

    def invitation(self, username: str) -> str:
        """The temporary password of the mail."""

    def add_authenticator(self, username: str, password: str) -> None: ...

    def code(self, username: str) -> str:
        """What the authenticator app shows now."""

    def shows(self, secret: str) -> str:
        """What an app shows now that was told this secret."""


class MemoryStage:
    def __init__(self, mfa: str = "optional") -> None:
        self._clock = FakeClock()
        self.pool = FakeUserPool(self._clock)
        self.pool.mfa = mfa
        self.verifier = FakeVerifier(self.pool)

    def now(self) -> datetime:
        return self._clock.now()

    def invitation(self, username: str) -> str:
        return self.pool.invitations[username]

    def add_authenticator(self, username: str, password: str) -> None:
        self.pool.require_totp(username, CODE)

    def code(self, username: str) -> str:
        return CODE

    def shows(self, secret: str) -> str:
        return CODE


class CognitoStage:
    """A pool and client with the template's settings; the adapter signs as a user with the API role's rights."""

    def __init__(self, emulator: Emulator, mfa: str = "optional") -> None:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self._root = emulator.client("cognito-idp")
        wanted = RESOURCES["UserPool"]["Properties"]
        policy = wanted["Policies"]["PasswordPolicy"] | {"MinimumLength": 12}
        self.pool_id: str = self._root.create_user_pool(
            PoolName=name,
            Policies={"PasswordPolicy": policy},
            **{key: wanted[key] for key in ("AliasAttributes", "UsernameConfiguration", "AutoVerifiedAttributes")},
        )["UserPool"]["Id"]
        self._root.set_user_pool_mfa_config(
            UserPoolId=self.pool_id, SoftwareTokenMfaConfiguration={"Enabled": True}, MfaConfiguration=mfa.upper()
        )
        app = RESOURCES["UserPoolClient"]["Properties"]
        same = ("ExplicitAuthFlows", "PreventUserExistenceErrors", "EnableTokenRevocation", "GenerateSecret")
        lives = ("AccessTokenValidity", "IdTokenValidity", "RefreshTokenValidity", "TokenValidityUnits")
        self.client_id: str = self._root.create_user_pool_client(
            UserPoolId=self.pool_id, ClientName=name, **{key: app[key] for key in (*same, *lives)}
        )["UserPoolClient"]["ClientId"]
        for role in Role:
            self._root.create_group(UserPoolId=self.pool_id, GroupName=role.value)
        self.key = self._user(emulator, name)
        self.clients = Clients("us-east-1", endpoint_url=emulator.url, root=self.key)
        self.pool = CognitoUserPool(self.clients.cognito, self.pool_id, self.client_id)
        self.jwks_url = f"{emulator.url}/{self.pool_id}/.well-known/jwks.json"
        self.verifier: JwksVerifier = pool_verifier(self.pool_id, self.client_id, self.jwks_url)
        self._secrets: dict[str, str] = {}

    def _user(self, emulator: Emulator, name: str) -> AccessKey:
        iam = emulator.client("iam")
        iam.create_user(UserName=name)
        (policy,) = RESOURCES["ApiHandlerRole"]["Properties"]["Policies"]
        statement = next(s for s in policy["PolicyDocument"]["Statement"] if s["Sid"] == "Pool")
        arn = f"arn:aws:cognito-idp:us-east-1:{emulator.account}:userpool/{self.pool_id}"
        document = {"Version": "2012-10-17", "Statement": [statement | {"Resource": arn}]}
        iam.put_user_policy(UserName=name, PolicyName="pool", PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return AccessKey(key["AccessKeyId"], key["SecretAccessKey"])

    def now(self) -> datetime:
        return datetime.now(UTC)

    def invitation(self, username: str) -> str:
        # The emulator sends no mail that could be read here: root sets another temporary password.
        temporary = "Temporary-Word-3"
        self._root.admin_set_user_password(
            UserPoolId=self.pool_id, Username=username.lower(), Password=temporary, Permanent=False
        )
        return temporary

    def add_authenticator(self, username: str, password: str) -> None:
        access = self.pool.sign_in(username, password).access
        self._secrets[username] = self._root.associate_software_token(AccessToken=access)["SecretCode"]
        self._root.verify_software_token(AccessToken=access, UserCode=self.code(username))

    def code(self, username: str) -> str:
        return self.shows(self._secrets[username])

    def shows(self, secret: str) -> str:
        counter = struct.pack(">Q", int(time.time()) // 30)
        digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
        offset = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"

    def groups(self, username: str) -> list[str]:
        found = self._root.admin_list_groups_for_user(UserPoolId=self.pool_id, Username=username)["Groups"]
        return sorted(group["GroupName"] for group in found)

    def has(self, username: str) -> bool:
        try:
            self._root.admin_get_user(UserPoolId=self.pool_id, Username=username)
        except ClientError:
            return False
        return True


def mail(name: str) -> str:
    return f"{name}@example.com"


def add(stage: Stage, name: str, role: Role = Role.RESEARCHER) -> str:
    return stage.pool.create(name, mail(name), password=PASSWORD, role=role)


def session_of(stage: Stage, tokens: Tokens) -> Session:
    return stage.verifier.verify(tokens.access, stage.now())


def asked(stage: Stage, name: str, password: str) -> ChallengeError:
    with pytest.raises(ChallengeError) as caught:
        stage.pool.sign_in(name, password)
    return caught.value
