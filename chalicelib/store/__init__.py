"""DynamoDB adapters of the store ports; the only importer of pynamodb."""

from chalicelib.store.configs import DynamoConfigStore
from chalicelib.store.datasets import DynamoDatasetStore
from chalicelib.store.jobs import DynamoJobStore
from chalicelib.store.webhooks import DynamoWebhookLog

__all__ = ["DynamoConfigStore", "DynamoDatasetStore", "DynamoJobStore", "DynamoWebhookLog"]
