"""Routes of saved training configs."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import configs as schema

api = Api(tag="configs")


@api.endpoint(
    "GET",
    "/configs",
    permission=Permission.CONFIG_VIEW,
    query=schema.ListQuery,
    response=schema.ConfigListResponse,
    statuses=(400,),
)
def list_configs(call: Call[None, schema.ListQuery]) -> schema.ConfigListResponse:
    """List saved configs by name, latest versions."""
    found, cursor = call.services.configs.list(call.who.owner, limit=call.query.limit, cursor=call.query.cursor)
    return schema.ConfigListResponse(configs=[schema.config_summary(c) for c in found], next=cursor)


@api.endpoint(
    "POST",
    "/configs",
    permission=Permission.CONFIG_EDIT,
    body=schema.NamedConfigBody,
    response=schema.ConfigSavedResponse,
    statuses=(409,),
    audited=Audited(AuditAction.CONFIG_SAVE, "config:new"),
)
def create_config(call: Call[schema.NamedConfigBody, None]) -> Reply:
    """Save a config under the name in the body."""
    return _saved(call.services.configs.save(call.who.owner, call.body.name, call.body))


@api.endpoint(
    "PUT",
    "/configs/{name}",
    permission=Permission.CONFIG_EDIT,
    body=schema.ConfigBody,
    response=schema.ConfigSavedResponse,
    statuses=(409,),
    audited=Audited(AuditAction.CONFIG_SAVE, "config:{name}"),
)
def save_config(call: Call[schema.ConfigBody, None], name: str) -> Reply:
    """Save a config.

    A new version is made when it differs from the latest.
    """
    return _saved(call.services.configs.save(call.who.owner, name, call.body))


@api.endpoint(
    "GET",
    "/configs/{name}",
    permission=Permission.CONFIG_VIEW,
    query=schema.ConfigQuery,
    response=schema.ConfigResponse,
    statuses=(404,),
)
def get_config(call: Call[None, schema.ConfigQuery], name: str) -> schema.ConfigResponse:
    """Load a saved config, the latest version or the one asked for."""
    config, versions = call.services.configs.get(call.who.owner, name, call.query.version)
    return schema.ConfigResponse(
        name=config.name,
        version=config.version,
        config=config.config,
        dataloader_config=config.dataloader_config,
        destinations=None if config.destinations is None else list(config.destinations),
        metadata=schema.config_summary(config),
        versions=[schema.ConfigVersionRef(version=v.version, modified_at=v.modified_at) for v in versions],
    )


@api.endpoint(
    "DELETE",
    "/configs/{name}",
    permission=Permission.CONFIG_EDIT,
    response=schema.ConfigDeletedResponse,
    statuses=(404,),
    audited=Audited(AuditAction.CONFIG_DELETE, "config:{name}"),
)
def delete_config(call: Call[None, None], name: str) -> schema.ConfigDeletedResponse:
    """Delete a saved config with all its versions."""
    call.services.configs.delete(call.who.owner, name)
    return schema.ConfigDeletedResponse(name=name)


def _saved(config: TrainingConfig) -> Reply:
    view = schema.ConfigSavedResponse(
        name=config.name,
        version=config.version,
        message=f"Configuration '{config.name}' saved as version {config.version}",
    )
    return Reply(view, noted=Noted(f"config:{config.name}", details={"version": config.version}))
