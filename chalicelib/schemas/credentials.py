"""Named credentials on the wire. Secrets come in; none goes out, but a signing secret that was made here, once."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from chalicelib.domain.credential_secrets import Given
from chalicelib.domain.credentials import Credential, CredentialKind
from chalicelib.domain.destinations import CREDENTIAL_NAME, Destination
from chalicelib.schemas.base import RequestModel, ResponseModel, StrictRequest

_NAME = re.compile(CREDENTIAL_NAME)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "must have 1 to 63 lower-case letters, digits, dots, dashes and underscores, and begin and end with a "
            "letter or digit"
        )
    return text


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": CREDENTIAL_NAME})]


class _Secrets(StrictRequest):
    token: SecretStr | None = Field(None, description="Of kind huggingface: a token with the right to write.")
    access_key_id: SecretStr | None = Field(None, description="Of kind s3. It is shown, as it is no secret.")
    secret_access_key: SecretStr | None = Field(None, description="Of kind s3.")
    session_token: SecretStr | None = Field(None, description="Of kind s3, for temporary keys.")
    secret: SecretStr | None = Field(
        None,
        description="Of kind webhook: `whsec_` and 24 to 64 bytes in base64. Left out, one is made and shown once.",
    )

    def given(self) -> Given:
        return Given(
            token=_clear(self.token),
            access_key_id=_clear(self.access_key_id),
            secret_access_key=_clear(self.secret_access_key),
            session_token=_clear(self.session_token),
            secret=_clear(self.secret),
        )


class NewCredentialBody(_Secrets):
    """A credential with its secret. Which fields belong to it depends on its kind."""

    name: Name
    kind: CredentialKind


class NewSecretBody(_Secrets):
    """A new secret in the place of the old one. Of kind s3 the access key's id stays when it is left out."""

    keep_previous: bool = Field(
        True,
        description="Of kind webhook: whether the last secret goes on signing beside the new one, until the next "
        "rotation. Say false when it has leaked.",
    )


class DeleteQuery(RequestModel):
    force: bool = Field(False, description="Also when something names it, which will fail then.")


class TestBody(StrictRequest):
    """Where to try it: a destination of the credential's kind, without `credential`. A token of the Hub needs none."""

    __test__ = False

    destination: Destination | None = None


class CredentialView(ResponseModel):
    """A credential without its secret."""

    name: str
    kind: CredentialKind
    hint: str = Field(description="The access key's id, or the last four characters of the secret.")
    secret_version: int = Field(description="Grows by one with every rotation.")
    created_at: datetime
    rotated_at: datetime | None
    tested_at: datetime | None
    test_passed: bool | None = Field(description="What the last test of this secret came to.")
    facts: list[str] = Field(description="What the last test found, in words.")


class CredentialDetail(CredentialView):
    used_by: list[str] = Field(description="What names it now, in words.")


class CredentialListResponse(ResponseModel):
    credentials: list[CredentialView]


class CredentialSavedResponse(ResponseModel):
    credential: CredentialView
    secret: str | None = Field(description="A signing secret that was made here. It is never shown again.")
    warnings: list[str]


class CredentialProblem(ResponseModel):
    code: str
    message: str
    advice: str
    temporary: bool = Field(description="It says nothing of the credential: the destination can't be reached now.")


class CredentialTestedResponse(ResponseModel):
    passed: bool
    facts: list[str]
    problem: CredentialProblem | None
    credential: CredentialView


class CredentialDeletedResponse(ResponseModel):
    name: str
    used_by: list[str] = Field(description="What named it, and fails now.")


def credential_view(credential: Credential) -> CredentialView:
    return CredentialView(**_shown(credential))


def credential_detail(credential: Credential, used_by: list[str]) -> CredentialDetail:
    return CredentialDetail(**_shown(credential), used_by=used_by)


def _shown(credential: Credential) -> dict[str, object]:
    return credential.model_dump(include=set(CredentialView.model_fields))


def _clear(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
