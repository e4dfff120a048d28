"""A submission before it is one: what the request stands for, looked up once and used by every check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.datasets import DatasetVersion
from chalicelib.domain.entry_checks import Entry, entries_of
from chalicelib.domain.jobs import DatasetRef
from chalicelib.domain.permissions import Principal
from chalicelib.domain.ports import Ports, Provider
from chalicelib.domain.predictions import HardwareProfile
from chalicelib.domain.trainer import ConfigProblem, PreparedConfig, check_submission, prepare_config, undash
from chalicelib.errors import FieldError, NotFound, ValidationFailed
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services.dataset_lookup import resolve
from chalicelib.services.key_terms import check_provider


@dataclass(frozen=True)
class Draft:
    """``config`` is as sent, ``prepared`` as it would be launched (None when it can't be). ``problems`` are what
    forbids it whatever the checks say; ``references`` the dataset versions, with the whole records in ``versions``."""

    who: Principal
    request: SubmitRequest
    provider: Provider
    profile: HardwareProfile | None
    saved: TrainingConfig | None
    config: Mapping[str, Any]
    dataloader: list[dict[str, Any]]
    prepared: PreparedConfig | None
    references: tuple[DatasetRef, ...]
    versions: tuple[DatasetVersion, ...]
    max_run_seconds: int
    problems: tuple[ConfigProblem, ...]

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The config without dashes, otherwise as sent."""
        return undash(self.config)[0]

    @cached_property
    def entries(self) -> list[Entry]:
        """The dataloader's entries that take part."""
        return entries_of(self.plain, self.dataloader)


def find_provider(ports: Ports, who: Principal, name: str) -> Provider:
    """Raises PermissionDenied (``provider_not_allowed``), NotFound (``provider_not_found``)."""
    check_provider(who, name)
    provider = ports.providers(name)
    if provider is None:
        raise NotFound(f"Provider '{name}' is not known here.", code="provider_not_found")
    return provider


def make_draft(ports: Ports, who: Principal, request: SubmitRequest, provider: Provider) -> Draft:
    """Looks everything up; changes nothing. Raises NotFound (config), ValidationFailed (no config, or two)."""
    saved = _saved_config(ports, who.owner, request)
    config = (request.config if saved is None else saved.config) or {}
    dataloader = request.dataloader_config
    if dataloader is None:
        dataloader = (saved.dataloader_config if saved else None) or []
    profile, problem = _profile(provider, request.hardware_profile)
    problems = [problem] if problem else []
    problems += check_submission(config, dataloader)
    prepared, config_problems = prepare_config(config)
    problems += [p for p in config_problems if p not in problems]
    references, versions, dataset_problems = resolve(ports, who.owner, dataloader)
    problems += dataset_problems
    return Draft(
        who=who,
        request=request,
        provider=provider,
        profile=profile,
        saved=saved,
        config=config,
        dataloader=dataloader,
        prepared=prepared,
        references=references,
        versions=versions,
        max_run_seconds=request.max_run_seconds or ports.limits.default_max_run_seconds,
        problems=tuple(problems),
    )


def _saved_config(ports: Ports, owner: str, request: SubmitRequest) -> TrainingConfig | None:
    if request.config is not None:
        if request.config_name_to_load:
            raise ValidationFailed(
                "Send either config or config_name_to_load, not both.",
                errors=[FieldError("config_name_to_load", "can't be combined with config")],
            )
        return None
    name = request.config_name_to_load
    if not name:
        raise ValidationFailed(
            "No configuration provided: send config or config_name_to_load.",
            code="no_config",
            errors=[FieldError("config", "is missing", "missing")],
        )
    saved = ports.configs.get(owner, name, request.config_version)
    if saved is None:
        raise NotFound(
            f"Failed to load config: Configuration '{name}' not found. Save it first: "
            f"stcloud configs push {name} config.json",
            code="config_not_found",
        )
    return saved


def _profile(provider: Provider, wanted: str | None) -> tuple[HardwareProfile | None, ConfigProblem | None]:
    profiles = provider.profiles
    if wanted is None:
        return next(iter(profiles.values())), None
    if wanted in profiles:
        return profiles[wanted], None
    return None, ConfigProblem(
        "hardware_profile",
        f"Invalid {provider.name} hardware profile '{wanted}'",
        "invalid",
        f"Valid profiles: {', '.join(profiles)}",
    )
