"""What can go wrong in a deployment, in words that say what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

_FORBIDDEN = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
_BAD_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "RequestExpired",
    "AuthFailure",
}


class DeployError(Exception):
    """The deployment can't go on. The message is for people: what happened, and what to do about it."""


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def explained() -> Iterator[None]:
    """Turns what the AWS SDK raises into DeployError; nothing else is touched."""
    try:
        yield
    except ClientError as error:
        raise DeployError(_of_service(error)) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise DeployError(_of_sdk(error)) from error


def _of_service(error: ClientError) -> str:
    code = error_code(error)
    message = str(error.response.get("Error", {}).get("Message", "")).strip() or code
    if code in _FORBIDDEN:
        return (
            f"AWS does not allow {error.operation_name} with these credentials: {message}\n"
            "Deploy with an identity that may manage CloudFormation, IAM, Lambda, API Gateway, DynamoDB, S3, Step "
            "Functions, CloudFront, Cognito, EventBridge, CloudWatch and SSM in this account."
        )
    if code in _BAD_CREDENTIALS:
        return (
            f"AWS refuses the credentials ({code}): {message}\n"
            "They have expired or belong to nobody. Sign in again (aws sso login) or choose others with --profile."
        )
    return f"AWS answered {error.operation_name} with {code}: {message}"


def _of_sdk(error: Exception) -> str:
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return "No AWS credentials were found. Sign in (aws sso login, aws configure) or name a profile with --profile."
    if isinstance(error, (TokenRetrievalError, SSOError)):
        return f"The AWS sign-in has ended: {error}\nSign in again: aws sso login"
    if isinstance(error, ProfileNotFound):
        return f"{error}. See the profiles you have with: aws configure list-profiles"
    if isinstance(error, NoRegionError):
        return "No AWS region is set. Name one with --region, for example --region us-east-1."
    if isinstance(error, EndpointConnectionError):
        return f"{error}\nIs the region right, and is there a network? For the emulator: is it running?"
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return f"The connection to AWS broke: {error}\nWhat was done so far stays; run the same command again."
    return f"The AWS SDK gave up: {error}"
