"""The template as tests read it: its parts, and what each function may do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from infra.template_parts import load_template

ROOT = Path(__file__).parents[3]
TEMPLATE = load_template()
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
CONFIG: dict[str, Any] = json.loads((ROOT / ".chalice" / "config.json").read_text())
FUNCTIONS: dict[str, dict[str, int]] = CONFIG["lambda_functions"]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r.get("Type") == kind}


def logical_name(function: str) -> str:
    return "APIHandler" if function == "api_handler" else "".join(p.capitalize() for p in function.split("_"))


def role_of(function: str) -> str:
    return str(RESOURCES[logical_name(function)]["Properties"]["Role"]["Fn::GetAtt"][0])


def statements(name: str) -> list[dict[str, Any]]:
    return [s for p in RESOURCES[name]["Properties"].get("Policies", []) for s in p["PolicyDocument"]["Statement"]]


def reads(function: str) -> set[str]:
    """Names of the SSM parameters that the function may read."""
    texts = [json.dumps(s["Resource"]) for s in statements(role_of(function)) if s["Action"] == "ssm:GetParameter"]
    return {name for text in texts for name in re.findall(r"/stcloud/\$\{Stage\}/([\w*-]+)", text)}
