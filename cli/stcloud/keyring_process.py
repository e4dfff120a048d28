"""The operating system's keyring, asked in a process of its own that runs this very file.

A keyring may hang (no desktop behind the bus) or want to ask something on the terminal; a process can be given up and
killed, a call can't. It reads one JSON object from stdin (``do``: get, set or delete; ``service``, ``name``, and
``secret`` for set) and writes one to stdout: ``{"secret": …}``, ``{}`` or ``{"error": "…"}``. The package ``keyring``
is optional (``pip install 'stcloud[keyring]'``).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

#: Backends that keep nothing, or keep it in a file that is no better than ours.
_NOT_SAFE = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")


def perform(request: Mapping[str, str]) -> dict[str, Any]:
    """Does what is asked. Raises whatever the backend raises, ImportError without the package."""
    keyring: Any = importlib.import_module("keyring")
    backend = keyring.get_keyring()
    inner = getattr(backend, "backends", None) or [backend]
    if any(type(one).__module__.startswith(_NOT_SAFE) for one in inner):
        return {"error": "there is no safe keyring on this computer"}
    service, name = request["service"], request["name"]
    if request["do"] == "set":
        keyring.set_password(service, name, request["secret"])
    elif request["do"] == "delete":
        if keyring.get_password(service, name) is not None:
            keyring.delete_password(service, name)
    else:
        return {"secret": keyring.get_password(service, name)}
    return {}


def main() -> None:
    try:
        answer = perform(json.loads(sys.stdin.read()))
    except ImportError:
        answer = {"error": "the package 'keyring' is not installed"}
    except Exception as error:  # noqa: BLE001 - backends raise what they like; texts may hold secrets, so the kind is told
        answer = {"error": f"the keyring refused ({type(error).__name__})"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
