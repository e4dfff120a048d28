"""What a call costs in reads on a warm function: none for a session, one for a key, remembered for seconds.

The deployed function is pointed at a proxy that counts what it asks DynamoDB for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.deployed import Deployed, running_deployment
from tests.support.lossy import LossyProxy, lossy_proxy
from tests.support.stack import eventually

PASSWORD = "Correct-Horse-1"
READS = {"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems", "ExecuteStatement"}
#: A route that needs a permission and looks at nothing in the database.
PLAIN = "/cloud/providers"
Reads = Callable[..., list[str]]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, build_dir: Path) -> Iterator[Deployed]:
    with running_deployment(tmp_path_factory.mktemp("stack"), build_dir) as deployed:
        yield deployed


@pytest.fixture(scope="module")
def proxy(deployed: Deployed) -> Iterator[LossyProxy]:
    functions, name = deployed.emulator.client("lambda"), "stcloud-local-api-handler"
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    with lossy_proxy(deployed.emulator.port) as proxy:
        variables |= {"AWS_ENDPOINT_URL_DYNAMODB": proxy.url}
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        yield proxy


@pytest.fixture(scope="module")
def session(deployed: Deployed, proxy: LossyProxy) -> str:
    ada = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}
    status, made = deployed.api("/auth/setup/first-admin", method="POST", body=ada, token=deployed.outputs.deploy_token)
    assert status == 200, made
    credentials = {"username": "ada", "password": PASSWORD}
    return str(deployed.api("/auth/login", method="POST", body=credentials)[1]["access_token"])


@pytest.fixture(scope="module")
def reads(deployed: Deployed, proxy: LossyProxy) -> Reads:
    def read(token: str, path: str = PLAIN) -> list[str]:
        """What one call reads."""
        proxy.calls.clear()
        status, answer = deployed.api(path, token=token)
        assert status == 200, answer
        return [call for call in proxy.calls if call in READS]

    return read


def test_a_session_costs_no_read(session: str, reads: Reads) -> None:
    assert reads(session, "/cloud/jobs"), "nothing is counted"
    reads(session)  # warm
    assert [reads(session) for _ in range(5)] == [[]] * 5


def test_a_key_costs_one_read_and_is_remembered(deployed: Deployed, session: str, reads: Reads) -> None:
    status, made = deployed.api("/auth/api-keys", method="POST", body={"name": "ci"}, token=session)
    assert status == 200, made
    key = made["key"]
    assert reads(key) == ["BatchGetItem"]
    assert reads(key) == []
    # What is remembered ends within seconds; then the key is looked at again, once.
    assert eventually(lambda: reads(key) or None, seconds=20) == ["BatchGetItem"]
    assert reads(key) == []
