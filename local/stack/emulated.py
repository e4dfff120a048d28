"""Clients of the emulator, whatever AWS settings the caller has."""

from __future__ import annotations

import os
from typing import Any


def client(service: str, url: str) -> Any:
    """A boto3 client with the root user's key, short timeouts, and no proxy."""
    import boto3
    import botocore.session
    from botocore.config import Config

    nowhere = (None, None, os.devnull, None)
    variables = {"profile": (None, None, None, None), "config_file": nowhere, "credentials_file": nowhere}
    base = botocore.session.Session(session_vars=variables)
    root = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    session: Any = boto3.Session(botocore_session=base, **root)
    config = Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 1}, proxies={})
    return session.client(service, endpoint_url=url, config=config)
