"""S3 clients for users' own stores: their keys and nothing of ours, and connections to checked addresses only.

Nothing of this process's surroundings takes part: no role, no profile, no files, no proxies, no endpoint variables. A
missing key is an error, never a reason to look for another one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from chalicelib.domain.credentials import S3Secret
from chalicelib.domain.destinations import S3Destination

#: Seconds; the reading one is between two bytes.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 60.0
#: Attempts of one call, the first included.
ATTEMPTS = 3
CONNECTIONS = 8
DEFAULT_REGION = "us-east-1"

#: The addresses to connect to for a URL, checked. Raises DeliveryFault for one that is refused.
Guard = Callable[[str], Sequence[str]]


def foreign_client(
    destination: S3Destination,
    secret: S3Secret,
    guard: Guard,
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    read_timeout: float = READ_TIMEOUT,
    attempts: int = ATTEMPTS,
) -> Any:
    """A client for exactly this destination; the caller closes it. Makes no request. Raises ValueError for an endpoint
    that is no URL."""
    import boto3
    import botocore.session
    from botocore.config import Config

    path_style = destination.path_style if destination.path_style is not None else destination.endpoint_url is not None
    # Whatever the process has: a Lambda's role, a developer's profile, AWS_ENDPOINT_URL.
    nothing: dict[str, tuple[None, None, Any, None]] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    base = botocore.session.Session(session_vars=nothing)
    client = boto3.Session(botocore_session=base).client(
        "s3",
        region_name=destination.region or DEFAULT_REGION,
        endpoint_url=destination.endpoint_url,
        aws_access_key_id=secret.access_key_id,
        aws_secret_access_key=secret.secret_access_key.get_secret_value(),
        aws_session_token=secret.session_token.get_secret_value() if secret.session_token else None,
        config=Config(
            signature_version="s3v4",
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=CONNECTIONS,
            proxies={},
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # the stubs are older
            # Stores that are not AWS refuse the checksum that botocore adds as a trailer: R2 answers 501, MinIO and B2
            # fail in ways of their own (https://github.com/boto/boto3/issues/4392). Ours are headers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"}
            if path_style
            else {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
        ),
    )
    session = _guarded_session(guard, connect_timeout, read_timeout)
    # botocore's documented way to answer a request oneself: what a handler of this event returns is the response.
    client.meta.events.register("before-send.s3", lambda request, **_: session.send(request))
    return _Closing(client, session)


class _Closing:
    """A client that closes the connections of its own session too."""

    def __init__(self, client: Any, session: Any) -> None:
        self._client = client
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def close(self) -> None:
        self._client.close()
        self._session.close()


def _guarded_session(guard: Guard, connect_timeout: float, read_timeout: float) -> Any:
    """botocore's own HTTP session, whose connections go to the addresses that ``guard`` gives.

    The name is looked up and judged when a connection is made, and the connection goes to what was judged: a second
    look-up could say something else. The Host header, SNI and the certificate's check keep the name.
    """
    from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
    from botocore.httpsession import URLLib3Session
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    def connected(connection: Any, scheme: str, connect: Callable[[], socket.socket]) -> socket.socket:
        host = connection.host
        spelled = f"[{host}]" if ":" in host else host
        failure: Exception | None = None
        for address in guard(f"{scheme}://{spelled}:{connection.port}/"):
            # urllib3 keeps the name to resolve apart from the name to show; this is where others pin it too
            # (https://github.com/urllib3/urllib3/blob/2.5.0/src/urllib3/connection.py, "_dns_host").
            connection._dns_host = address
            try:
                return connect()
            except (NewConnectionError, ConnectTimeoutError) as error:
                failure = error
            finally:
                connection._dns_host = host
        raise failure or NewConnectionError(connection, "the name stands for no address")

    class Plain(AWSHTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connected(self, "http", super()._new_conn)

    class Secure(AWSHTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connected(self, "https", super()._new_conn)

    class PlainPool(AWSHTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(AWSHTTPSConnectionPool):
        ConnectionCls = Secure

    session: Any = URLLib3Session(
        verify=True,
        timeout=(connect_timeout, read_timeout),  # type: ignore[arg-type]  # the stubs know one number only
        max_pool_connections=CONNECTIONS,
    )
    session._pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    session._manager.pool_classes_by_scheme = session._pool_classes_by_scheme
    return session


def is_plain_http(destination: S3Destination) -> bool:
    """Whether contents would travel unencrypted."""
    return destination.endpoint_url is not None and urlsplit(destination.endpoint_url).scheme.lower() == "http"
