"""What the trainer's image declares: models, versions, hardware and exactly the Cog's inputs.

Recorded from SimpleTuner 4.10.1's ``predict.py`` under Cog with a build-time schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.sandbox.problems import invalid, not_found

OWNER = "simpletuner"
REDACTED = "[REDACTED]"
CREATED_AT = "2026-01-01T00:00:00.000000Z"
COG_VERSION = "0.23.1"

_DESCRIPTIONS: dict[str, str] = {
    "images": "Zip or tar archive of training images. Not required if dataloader_json points to external data.",
    "config_json": "Training config: either a JSON string or path to config.json.",
    "dataloader_json": "Multidatabackend config: either a JSON string or path to file.",
    "max_train_steps": "Override --max_train_steps for quicker Cog runs.",
    "s3_bucket": "S3-compatible bucket for publishing checkpoints (overrides config).",
    "s3_region": "S3 region (optional).",
    "s3_endpoint_url": "Custom S3 endpoint URL.",
    "s3_base_path": "Prefix inside the bucket.",
    "s3_public_base_url": "Public base URL to build shareable links (optional).",
    "s3_access_key": "S3 access key.",
    "s3_secret_key": "S3 secret key.",
    "hub_model_id": "HuggingFace Hub repo ID - overrides config.",
    "hf_token": "Hugging Face token for model downloads and Hub publishing.",
    "lycoris_config": "LyCORIS config: either a JSON string or path to lycoris_config.json.",
    "return_logs": "Print the tail of debug.log to Cog output.",
}
_NULLABLE = {"nullable": True}
_SECRET = {"format": "password", "writeOnly": True, "x-cog-secret": True}
_SHAPES: dict[str, dict[str, Any]] = {
    "images": {"type": "string", "format": "uri"},
    "config_json": {"type": "string"},
    "dataloader_json": {"type": "string"},
    "max_train_steps": {"type": "integer"},
    "s3_bucket": {"type": "string", **_NULLABLE},
    "s3_region": {"type": "string", **_NULLABLE},
    "s3_endpoint_url": {"type": "string", **_NULLABLE},
    "s3_base_path": {"type": "string", **_NULLABLE},
    "s3_public_base_url": {"type": "string", **_NULLABLE},
    "s3_access_key": {"type": "string", **_SECRET, **_NULLABLE},
    "s3_secret_key": {"type": "string", **_SECRET, **_NULLABLE},
    "hub_model_id": {"type": "string", **_NULLABLE},
    "hf_token": {"type": "string", **_SECRET},
    "lycoris_config": {"type": "string"},
    "return_logs": {"type": "boolean", "default": True},
}
INPUT_PROPERTIES: dict[str, dict[str, Any]] = {
    name: {**shape, "title": name.replace("_", " ").title(), "description": _DESCRIPTIONS[name], "x-order": order}
    for order, (name, shape) in enumerate(_SHAPES.items())
}
SECRET_INPUTS = frozenset(name for name, shape in _SHAPES.items() if shape.get("x-cog-secret"))
_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool}


@dataclass(frozen=True)
class Machine:
    """One imitated machine; ``suffix`` ends the model's name, ``sku`` is spelled as Replicate's price list has it."""

    suffix: str
    sku: str
    label: str

    @property
    def model(self) -> str:
        return f"{OWNER}/advanced-trainer-{self.suffix}"

    @property
    def version(self) -> str:
        """64 hex digits, the same on every machine and after every restart."""
        return hashlib.sha256(f"sandbox:{self.model}:1".encode()).hexdigest()


def _machines() -> dict[str, Machine]:
    machines = {}
    for gpu, label in (("h100", "H100"), ("l40s", "L40S")):
        for count in (1, 2, 4, 8):
            many = "" if count == 1 else f"-x{count}"
            sku = f"gpu-{gpu}" if count == 1 else f"gpu-{gpu}-{count}x"
            times = "" if count == 1 else f"{count}x "
            machine = Machine(f"{gpu}{many}", sku, f"Sandbox (this machine's CPU) in place of {times}Nvidia {label}")
            machines[machine.model] = machine
    return machines


MACHINES = _machines()


def resolve_version(reference: object) -> Machine:
    """The machine behind ``owner/name:id``, ``owner/name`` or a bare version id. Raises a 422 Problem."""
    if isinstance(reference, str) and reference:
        name, _, version = reference.partition(":")
        for machine in MACHINES.values():
            if reference in {machine.model, machine.version} or (name == machine.model and version == machine.version):
                return machine
    raise invalid(
        "The specified version does not exist (or perhaps you don't have permission to use it?)",
        fields=["version"],
        title="Invalid version or not permitted",
    )


def find_machine(owner: str, name: str) -> Machine:
    """Raises a 404 Problem."""
    machine = MACHINES.get(f"{owner}/{name}")
    if machine is None:
        raise not_found()
    return machine


def check_input(given: object) -> dict[str, Any]:
    """The input, when it is an object with declared names and types only. Raises a 422 Problem that names the rest.

    Cog with a build-time schema drops unknown inputs in silence. The sandbox refuses them, because an input that the
    trainer never sees is always a mistake of the caller.
    """
    if not isinstance(given, Mapping):
        raise invalid("input: Invalid type. Expected: object", fields=["input"])
    faults: dict[str, str] = {}
    for name, value in given.items():
        shape = _SHAPES.get(name)
        if shape is None:
            faults[f"input.{name}"] = "is not an input of this model"
        elif value is None:
            if not shape.get("nullable"):
                faults[f"input.{name}"] = f"Invalid type. Expected: {shape['type']}, given: null"
        elif not _is_a(value, shape["type"]):
            faults[f"input.{name}"] = f"Invalid type. Expected: {shape['type']}, given: {type(value).__name__}"
        elif shape.get("format") == "uri" and not re.match(r"(https?://|data:)", value):
            faults[f"input.{name}"] = "Does not match format 'uri'"
    if faults:
        raise invalid(*(f"{name}: {text}" for name, text in faults.items()), fields=list(faults))
    return dict(given)


def _is_a(value: object, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and not (kind == "integer" and isinstance(value, bool))


def redact(given: Mapping[str, Any]) -> dict[str, Any]:
    """The input with its declared secrets replaced. Those inside ``config_json`` stay: Replicate can't know them."""
    return {k: REDACTED if k in SECRET_INPUTS and v is not None else v for k, v in given.items()}


def openapi_schema() -> dict[str, Any]:
    """The version's ``openapi_schema``, reduced to what clients read: Input and Output."""
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": {},
        "components": {
            "schemas": {
                "Input": {"title": "Input", "type": "object", "properties": INPUT_PROPERTIES},
                "Output": {"title": "Output", "type": "string"},
            }
        },
    }


def version_json(machine: Machine) -> dict[str, Any]:
    return {
        "id": machine.version,
        "created_at": CREATED_AT,
        "cog_version": COG_VERSION,
        "openapi_schema": openapi_schema(),
    }


def model_json(machine: Machine, origin: str) -> dict[str, Any]:
    owner, name = machine.model.split("/")
    return {
        "url": f"{origin}/{machine.model}",
        "owner": owner,
        "name": name,
        "description": f"SimpleTuner's trainer, imitated by the local sandbox. {machine.label}.",
        "visibility": "public",
        "is_official": False,
        "github_url": "https://github.com/bghira/SimpleTuner",
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_json(machine),
    }


def hardware_json() -> list[dict[str, str]]:
    return [{"name": machine.label, "sku": machine.sku} for machine in MACHINES.values()]
