"""``Mailer``: from memory, and over the emulator's SNS, which takes every address for confirmed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.mail import SnsMailer
from chalicelib.domain.notification_ports import Mailer, Subscription
from chalicelib.errors import Unavailable
from tests.fakes.notifications import FakeMailer
from tests.support.emulator import Emulator

RITA, OTTO = "rita@example.com", "otto@example.com"


@pytest.fixture
def topic(emulator: Emulator) -> str:
    return str(emulator.client("sns").create_topic(Name=f"test-{uuid.uuid4().hex[:12]}")["TopicArn"])


@pytest.fixture
def sns(emulator: Emulator, topic: str) -> Iterator[SnsMailer]:
    clients = Clients("us-east-1", endpoint_url=emulator.url, root=AccessKey("test", "test"))
    yield SnsMailer(topic, clients.sns)
    clients.close()


@pytest.fixture(params=["memory", "sns"])
def mailer(request: pytest.FixtureRequest) -> Mailer:
    if request.param == "memory":
        return FakeMailer()
    found: Mailer = request.getfixturevalue("sns")
    return found


def test_an_address_is_one_subscription_until_it_ends(mailer: Mailer) -> None:
    first = mailer.subscribe(RITA)
    assert mailer.subscribe(RITA) == first != mailer.subscribe(OTTO)
    assert mailer.state(first) in {Subscription.PENDING, Subscription.CONFIRMED}
    mailer.send(RITA, "SimpleTuner Cloud: Completed: cats", "Here it is.")
    mailer.unsubscribe(first)
    mailer.unsubscribe(first)
    assert mailer.state(first) is Subscription.GONE
    mailer.send(RITA, "Nobody", "Nothing happens.")


def test_a_message_goes_to_one_address(emulator: Emulator, topic: str, sns: SnsMailer) -> None:
    """A queue with the same filter stands for the reader: the emulator sends no e-mail."""
    queues, topics = emulator.client("sqs"), emulator.client("sns")
    subscription = sns.subscribe(RITA)
    wanted = topics.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"]["FilterPolicy"]
    url = queues.create_queue(QueueName=f"test-{uuid.uuid4().hex[:12]}")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{**allowed, "Resource": arn}]})
    queues.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"FilterPolicy": wanted})
    sns.send(OTTO, "For otto", "not for rita")
    sns.send(RITA, "For rita", "this one")
    got = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)["Messages"]
    assert [json.loads(m["Body"])["Subject"] for m in got] == ["For rita"]


def test_a_stack_without_a_topic_says_so() -> None:
    def no_client() -> None:
        raise AssertionError("nothing is sent")

    with pytest.raises(Unavailable):
        SnsMailer("", no_client).send(RITA, "x", "y")
