"""The session policy of one job's temporary credentials, as small as it can be written."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

#: STS refuses a longer policy (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html).
MAX_POLICY_CHARS = 2048
#: Nothing that means something in a policy (``*``, ``?``, ``${``): such a prefix would match other keys too.
_PREFIX = re.compile(r"[A-Za-z0-9_.@=+,:-][A-Za-z0-9_.@=+,:/-]*/")


class PolicyTooLarge(Exception):
    """The prefixes are too many or too long for one session policy."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the session policy has {size} characters; {MAX_POLICY_CHARS} is the limit")
        self.size = size


def session_policy(
    *,
    datasets_bucket: str,
    outputs_bucket: str,
    read_prefixes: Sequence[str],
    scratch_prefix: str,
    write_prefix: str,
    partition: str = "aws",
) -> str:
    """The policy as JSON: list and read ``read_prefixes``; list, read, write and delete ``scratch_prefix``; list, read
    and write ``write_prefix``. Listing means with a prefix inside the allowed ones.

    Raises ValueError for a prefix that does not end in a slash or holds a wildcard, and PolicyTooLarge.
    """
    for prefix in (*read_prefixes, scratch_prefix, write_prefix):
        if not _PREFIX.fullmatch(prefix) or "//" in prefix:
            raise ValueError(f"not a key prefix to give access to: {prefix!r}")
    datasets, outputs = f"arn:{partition}:s3:::{datasets_bucket}", f"arn:{partition}:s3:::{outputs_bucket}"
    reads = sorted(set(read_prefixes))
    scratch, write = f"{datasets}/{scratch_prefix}*", f"{outputs}/{write_prefix}*"
    statements = [
        # AbortMultipartUpload belongs to writing: without it a failed large upload stays behind in parts.
        _allow(["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], [scratch, write]),
        _allow("s3:DeleteObject", scratch),
        _list(datasets, [*reads, scratch_prefix]),
        _list(outputs, [write_prefix]),
    ]
    if reads:
        statements.append(_allow("s3:GetObject", [f"{datasets}/{prefix}*" for prefix in reads]))
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    if len(policy) > MAX_POLICY_CHARS:
        raise PolicyTooLarge(len(policy))
    return policy


def _allow(action: str | list[str], resource: str | list[str]) -> dict[str, object]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def _list(bucket: str, prefixes: Sequence[str]) -> dict[str, object]:
    return _allow("s3:ListBucket", bucket) | {
        "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}
    }
