"""E-mail by one SNS topic of the stack: each address is a subscription that gets what is for it."""

from __future__ import annotations

import json

from botocore.exceptions import ClientError

from chalicelib.aws.clients import ClientSource
from chalicelib.aws.faults import answering, code_of
from chalicelib.domain.notification_events import MAX_SUBJECT
from chalicelib.domain.notification_ports import Subscription
from chalicelib.errors import Unavailable

_SERVICE = "The mail service"
#: The attribute of a message that a subscription's filter looks at.
_RECIPIENT = "recipient"


class SnsMailer:
    """``Mailer``. Needs sns:Subscribe and sns:Publish of the topic, sns:GetSubscriptionAttributes and sns:Unsubscribe
    (which know no resource). SNS itself asks each address for its consent, and puts a link to unsubscribe below every
    message. Subscriptions that nobody confirms end after two days.
    """

    def __init__(self, topic_arn: str, client: ClientSource) -> None:
        self._topic = topic_arn
        self._client = client

    def subscribe(self, address: str) -> str:
        topic = self._required()
        with answering(_SERVICE):
            made = self._client().subscribe(
                TopicArn=topic,
                Protocol="email",
                Endpoint=address,
                Attributes={"FilterPolicy": json.dumps({_RECIPIENT: [address]})},
                ReturnSubscriptionArn=True,
            )
        return str(made["SubscriptionArn"])

    def state(self, subscription: str) -> Subscription:
        with answering(_SERVICE):
            try:
                found = self._client().get_subscription_attributes(SubscriptionArn=subscription)
            except ClientError as error:
                if code_of(error) in _GONE:
                    return Subscription.GONE
                raise
        pending = found["Attributes"].get("PendingConfirmation") != "false"
        return Subscription.PENDING if pending else Subscription.CONFIRMED

    def send(self, address: str, subject: str, text: str) -> None:
        topic = self._required()
        with answering(_SERVICE):
            self._client().publish(
                TopicArn=topic,
                Subject=subject[:MAX_SUBJECT] or "SimpleTuner Cloud",
                Message=text,
                MessageAttributes={_RECIPIENT: {"DataType": "String", "StringValue": address}},
            )

    def unsubscribe(self, subscription: str) -> None:
        with answering(_SERVICE):
            try:
                self._client().unsubscribe(SubscriptionArn=subscription)
            except ClientError as error:
                # One that is not confirmed yet can't be ended, and ends by itself.
                if code_of(error) not in _GONE:
                    raise

    def _required(self) -> str:
        if not self._topic:
            raise Unavailable("This stack has no topic for e-mail.")
        return self._topic


_GONE = frozenset({"NotFound", "NotFoundException", "InvalidParameter", "InvalidParameterException"})
