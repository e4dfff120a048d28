"""Secrets of destinations in SSM Parameter Store, one SecureString each."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.clients import ClientSource
from chalicelib.aws.faults import answering, code_of
from chalicelib.domain.credentials import MAX_SECRET_BYTES

logger = logging.getLogger(__name__)

#: Pages of ten; an owner has 50 credentials and 20 channels at most.
MAX_PAGES = 50
_NAME = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){0,3}")
_SERVICE = "The parameter store"


class SsmSecretStore:
    """``SecretStore`` below ``<prefix>/credentials/<hash of the owner>/``. Needs ssm:PutParameter, GetParameter,
    DeleteParameter and GetParametersByPath there; a reader needs GetParameter alone.

    Owners may hold any character and parameters' names may not, hence the hash. The tier is said: with another default
    of the account a long value would be stored at a price.
    """

    def __init__(self, prefix: str, client: ClientSource) -> None:
        self._prefix = f"{prefix.rstrip('/')}/credentials"
        self._client = client

    def put(self, owner: str, name: str, secret: Mapping[str, Any]) -> None:
        text = json.dumps(dict(secret), separators=(",", ":"))
        if len(text.encode()) > MAX_SECRET_BYTES:
            raise ValueError(f"a secret has {MAX_SECRET_BYTES} bytes at most")
        with answering(_SERVICE):
            self._client().put_parameter(
                Name=self._path(owner, name), Value=text, Type="SecureString", Tier="Standard", Overwrite=True
            )

    def get(self, owner: str, name: str) -> Mapping[str, Any] | None:
        path = self._path(owner, name)
        with answering(_SERVICE):
            try:
                found = self._client().get_parameter(Name=path, WithDecryption=True)
            except ClientError as error:
                if code_of(error) == "ParameterNotFound":
                    return None
                raise
        try:
            document = json.loads(found["Parameter"]["Value"])
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document
        # Without the value, and without the exception, which repeats it.
        logger.error("the parameter %s holds no JSON object", path)
        return None

    def delete(self, owner: str, name: str) -> None:
        path = self._path(owner, name)
        with answering(_SERVICE):
            try:
                self._client().delete_parameter(Name=path)
            except ClientError as error:
                if code_of(error) != "ParameterNotFound":
                    raise

    def names(self, owner: str, within: str = "") -> Sequence[str]:
        root = self._root(owner)
        path = self._path(owner, within) if within else root
        found: list[str] = []
        # Without decryption: names are all that is wanted.
        query: dict[str, Any] = {"Path": path, "Recursive": True, "WithDecryption": False, "MaxResults": 10}
        for _ in range(MAX_PAGES):
            with answering(_SERVICE):
                page = self._client().get_parameters_by_path(**query)
            found += [str(p["Name"]).removeprefix(f"{root}/") for p in page["Parameters"]]
            token = page.get("NextToken")
            if not token:
                break
            query["NextToken"] = token
        return sorted(found)

    def _root(self, owner: str) -> str:
        return f"{self._prefix}/{hashlib.sha256(owner.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"

    def _path(self, owner: str, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("not the name of a secret")
        return f"{self._root(owner)}/{name}"
