"""Who needs what, written down a second time: a route's permission is changed here too, or not at all."""

from __future__ import annotations

from app import app
from chalicelib.api.routing import ENDPOINTS

#: Method and path to the permission; ``-`` for any caller who has shown a credential, ``public`` for everybody.
TABLE = """
GET    /audit                                                            audit.view
GET    /audit/verify                                                     audit.view
GET    /auth/api-keys                                                    api.keys.own
POST   /auth/api-keys                                                    api.keys.own
DELETE /auth/api-keys/{key_id}                                           api.keys.own
GET    /auth/api-keys/{key_id}                                           api.keys.own
POST   /auth/api-keys/{key_id}/rotate                                    api.keys.own
POST   /auth/change-password                                             profile.own
GET    /auth/check                                                       public
POST   /auth/login                                                       public
POST   /auth/login/challenge                                             public
POST   /auth/login/pool-token                                            public
POST   /auth/logout                                                      public
GET    /auth/me                                                          -
POST   /auth/mfa/authenticator                                           profile.own
POST   /auth/mfa/authenticator/remove                                    profile.own
POST   /auth/mfa/authenticator/verify                                    profile.own
POST   /auth/refresh                                                     public
POST   /auth/setup/first-admin                                           public
GET    /auth/setup/status                                                public
GET    /cloud/auth/api-keys                                              api.keys.own
POST   /cloud/auth/api-keys                                              api.keys.own
DELETE /cloud/auth/api-keys/{key_id}                                     api.keys.own
GET    /cloud/auth/api-keys/{key_id}                                     api.keys.own
POST   /cloud/auth/api-keys/{key_id}/rotate                              api.keys.own
GET    /cloud/credentials                                                credential.view
POST   /cloud/credentials                                                credential.edit
DELETE /cloud/credentials/{name}                                         credential.edit
GET    /cloud/credentials/{name}                                         credential.view
PUT    /cloud/credentials/{name}/secret                                  credential.edit
POST   /cloud/credentials/{name}/test                                    credential.edit
POST   /cloud/data-consent/preview                                       dataset.view
GET    /cloud/data-consent/setting                                       dataset.view
PUT    /cloud/data-consent/setting                                       dataset.edit
GET    /cloud/datasets                                                   dataset.view
POST   /cloud/datasets                                                   dataset.edit
GET    /cloud/datasets/usage                                             dataset.view
DELETE /cloud/datasets/{dataset_id}                                      dataset.edit
GET    /cloud/datasets/{dataset_id}                                      dataset.view
PATCH  /cloud/datasets/{dataset_id}                                      dataset.edit
GET    /cloud/datasets/{dataset_id}/archives                             dataset.view
POST   /cloud/datasets/{dataset_id}/archives                             dataset.edit
DELETE /cloud/datasets/{dataset_id}/archives/{archive_id}                dataset.edit
GET    /cloud/datasets/{dataset_id}/archives/{archive_id}                dataset.view
POST   /cloud/datasets/{dataset_id}/archives/{archive_id}/complete       dataset.edit
POST   /cloud/datasets/{dataset_id}/archives/{archive_id}/parts          dataset.edit
POST   /cloud/datasets/{dataset_id}/manifests                            dataset.edit
DELETE /cloud/datasets/{dataset_id}/versions/{version_id}                dataset.edit
GET    /cloud/datasets/{dataset_id}/versions/{version_id}                dataset.view
POST   /cloud/datasets/{dataset_id}/versions/{version_id}/complete       dataset.edit
GET    /cloud/datasets/{dataset_id}/versions/{version_id}/diff           dataset.view
POST   /cloud/datasets/{dataset_id}/versions/{version_id}/downloads      dataset.view
POST   /cloud/datasets/{dataset_id}/versions/{version_id}/inspect        dataset.edit
GET    /cloud/datasets/{dataset_id}/versions/{version_id}/report         dataset.view
POST   /cloud/datasets/{dataset_id}/versions/{version_id}/uploads        dataset.edit
POST   /cloud/datasets/{dataset_id}/versions/{version_id}/uploads/finish dataset.edit
GET    /cloud/delivery/defaults                                          job.view.own
PUT    /cloud/delivery/defaults                                          job.submit
GET    /cloud/escrow/settings                                            job.view.own
PUT    /cloud/escrow/settings                                            job.submit
GET    /cloud/health                                                     public
GET    /cloud/health/live                                                public
GET    /cloud/health/ready                                               public
GET    /cloud/jobs                                                       job.view.own
POST   /cloud/jobs/preflight                                             job.submit
POST   /cloud/jobs/submit                                                job.submit
DELETE /cloud/jobs/{job_id}                                              job.delete.own
GET    /cloud/jobs/{job_id}                                              job.view.own
POST   /cloud/jobs/{job_id}/cancel                                       job.cancel.own
GET    /cloud/jobs/{job_id}/config                                       job.view.own
POST   /cloud/jobs/{job_id}/deliver                                      job.submit
GET    /cloud/jobs/{job_id}/deliveries                                   job.view.own
GET    /cloud/jobs/{job_id}/deliveries/{delivery_id}                     job.view.own
POST   /cloud/jobs/{job_id}/deliveries/{delivery_id}/cancel              job.submit
POST   /cloud/jobs/{job_id}/deliveries/{delivery_id}/links               public
POST   /cloud/jobs/{job_id}/deliveries/{delivery_id}/receipt             public
POST   /cloud/jobs/{job_id}/deliveries/{delivery_id}/retry               job.submit
PUT    /cloud/jobs/{job_id}/escrow                                       job.delete.own
GET    /cloud/jobs/{job_id}/events                                       job.view.own
GET    /cloud/jobs/{job_id}/inline-progress                              job.view.own
GET    /cloud/jobs/{job_id}/logs                                         job.view.own
GET    /cloud/jobs/{job_id}/manifest                                     job.view.own
GET    /cloud/jobs/{job_id}/outputs                                      job.view.own
POST   /cloud/jobs/{job_id}/upload-token                                 job.submit
GET    /cloud/notifications/channels                                     notification.view
POST   /cloud/notifications/channels                                     notification.edit
DELETE /cloud/notifications/channels/{channel_id}                        notification.edit
GET    /cloud/notifications/channels/{channel_id}                        notification.view
PATCH  /cloud/notifications/channels/{channel_id}                        notification.edit
POST   /cloud/notifications/channels/{channel_id}/rotate-secret          notification.edit
POST   /cloud/notifications/channels/{channel_id}/test                   notification.edit
GET    /cloud/notifications/events                                       notification.view
GET    /cloud/notifications/history                                      notification.view
POST   /cloud/notifications/history/{message_id}/redeliver               notification.edit
GET    /cloud/notifications/status                                       notification.view
GET    /cloud/providers                                                  provider.view
GET    /cloud/storage                                                    public
GET    /cloud/storage/{bucket}                                           public
GET    /cloud/storage/{bucket}/{key+}                                    public
POST   /cloud/storage/{bucket}/{key+}                                    public
PUT    /cloud/storage/{bucket}/{key+}                                    public
GET    /configs                                                          config.view
POST   /configs                                                          config.edit
DELETE /configs/{name}                                                   config.edit
GET    /configs/{name}                                                   config.view
PUT    /configs/{name}                                                   config.edit
GET    /users                                                            user.view
POST   /users                                                            user.manage
DELETE /users/{user_id}                                                  user.manage
GET    /users/{user_id}                                                  user.view
PATCH  /users/{user_id}                                                  user.manage
POST   /users/{user_id}/activate                                         user.manage
POST   /users/{user_id}/deactivate                                       user.manage
POST   /users/{user_id}/reset-password                                   user.manage
POST   /webhooks/{provider}                                              public
"""


def test_every_route_needs_what_the_table_says() -> None:
    assert app.routes
    declared = {
        f"{e.method} {e.path}": e.permission.value if e.permission else ("-" if e.any_caller else "public")
        for e in ENDPOINTS
    }
    written = dict(line.rsplit(None, 1) for line in TABLE.strip().splitlines())
    assert declared == {" ".join(route.split()): permission for route, permission in written.items()}
