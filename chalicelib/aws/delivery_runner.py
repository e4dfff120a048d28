"""Deliveries on AWS Step Functions."""

from __future__ import annotations

from chalicelib.aws.clients import ClientSource
from chalicelib.aws.runner import start_once, state_of
from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.ports import ExecutionState


class StepFunctionsDeliveryRunner:
    """The DeliveryRunner port over one STANDARD state machine.

    Needs states:StartExecution on the machine and states:DescribeExecution on its executions. Raises Unavailable when
    Step Functions is busy, botocore's ClientError when the deployment is wrong.
    """

    def __init__(self, machine_arn: str, client: ClientSource) -> None:
        self._machine = machine_arn
        self._client = client

    def start(self, delivery: Delivery) -> None:
        payload = {"job_id": delivery.job_id, "delivery_id": delivery.delivery_id, "attempt": delivery.attempt}
        start_once(self._client, self._machine, execution_name(delivery), payload)

    def state(self, delivery: Delivery) -> ExecutionState:
        return state_of(self._client, self._machine, execution_name(delivery))


def execution_name(delivery: Delivery) -> str:
    return f"{delivery.delivery_id}-{delivery.attempt}"
