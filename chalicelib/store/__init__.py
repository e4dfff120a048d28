"""DynamoDB adapters of the store ports; the only importer of pynamodb."""

from chalicelib.store.access import DynamoAccessStore
from chalicelib.store.archives import DynamoArchiveStore
from chalicelib.store.audit import DynamoAuditStore
from chalicelib.store.configs import DynamoConfigStore
from chalicelib.store.credentials import DynamoCredentialStore
from chalicelib.store.datasets import DynamoDatasetStore
from chalicelib.store.deliveries import DynamoDeliveryStore
from chalicelib.store.jobs import DynamoJobStore
from chalicelib.store.notifications import DynamoNotificationStore
from chalicelib.store.owner_settings import DynamoOwnerSettingsStore
from chalicelib.store.rates import DynamoRateStore
from chalicelib.store.upload_tokens import DynamoUploadTokenStore
from chalicelib.store.webhooks import DynamoWebhookLog

__all__ = [
    "DynamoAccessStore",
    "DynamoArchiveStore",
    "DynamoAuditStore",
    "DynamoConfigStore",
    "DynamoCredentialStore",
    "DynamoDatasetStore",
    "DynamoDeliveryStore",
    "DynamoJobStore",
    "DynamoNotificationStore",
    "DynamoOwnerSettingsStore",
    "DynamoRateStore",
    "DynamoUploadTokenStore",
    "DynamoWebhookLog",
]
