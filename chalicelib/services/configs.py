"""Saved training configs with numbered versions."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.datasets import is_name
from chalicelib.domain.ports import InvalidCursorError, Ports, StaleRecordError
from chalicelib.domain.trainer import check_stored
from chalicelib.errors import BadRequest, Conflict, FieldError, NotFound, ValidationFailed
from chalicelib.schemas.configs import ConfigBody

#: Tries to get the next version number when several clients save the same name at once.
MAX_TRIES = 10


class ConfigService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def save(self, owner: str, name: str, body: ConfigBody) -> TrainingConfig:
        """Stores the next version. Saving what the latest version already says makes none.

        Raises ValidationFailed: bad name, config too large, secrets inside. What the trainer would refuse is
        found at submit, so that work in progress can be saved.
        """
        if not is_name(name):
            raise ValidationFailed(
                "A config name has 1 to 100 letters, digits, dots, dashes and underscores.",
                code="invalid_name",
                errors=[FieldError("name", "is not a valid name")],
            )
        problems = check_stored(body.config, body.dataloader_config or [])
        if problems:
            raise ValidationFailed(
                f"{problems[0].field}: {problems[0].text}",
                code=problems[0].code,
                errors=[FieldError(p.field, p.text, p.code) for p in problems],
            )
        now = self._ports.clock.now()
        for _ in range(MAX_TRIES):
            latest = self._ports.configs.get(owner, name)
            if latest is not None and _same(latest, body):
                return latest
            config = TrainingConfig(
                owner=owner,
                name=name,
                version=latest.version + 1 if latest else 1,
                config=body.config,
                dataloader_config=body.dataloader_config,
                description=body.description,
                created_at=latest.created_at if latest else now,
                modified_at=now,
            )
            try:
                self._ports.configs.save(config)
            except StaleRecordError:
                continue
            return config
        raise Conflict("Several clients are saving this config at once; try again.", code="changed_meanwhile")

    def get(self, owner: str, name: str, version: int | None) -> tuple[TrainingConfig, Sequence[TrainingConfig]]:
        """The version asked for (latest by default) and all versions, newest first. Raises NotFound."""
        config = self._ports.configs.get(owner, name, version)
        if config is None:
            which = f"'{name}'" if version is None else f"'{name}' version {version}"
            raise NotFound(f"Configuration {which} not found", code="config_not_found")
        return config, self._ports.configs.versions(owner, name)

    def list(self, owner: str, *, limit: int, cursor: str | None) -> tuple[list[TrainingConfig], str | None]:
        try:
            return self._ports.configs.list(owner, limit=limit, cursor=cursor)
        except InvalidCursorError:
            raise BadRequest("The cursor is not one of this list.", code="invalid_cursor") from None

    def delete(self, owner: str, name: str) -> None:
        """All versions. Jobs keep their own copy. Raises NotFound."""
        if self._ports.configs.get(owner, name) is None:
            raise NotFound(f"Configuration '{name}' not found", code="config_not_found")
        self._ports.configs.delete(owner, name)


def _same(latest: TrainingConfig, body: ConfigBody) -> bool:
    return (latest.config, latest.dataloader_config, latest.description) == (
        body.config,
        body.dataloader_config,
        body.description,
    )
