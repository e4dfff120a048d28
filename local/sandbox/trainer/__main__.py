"""``python -m local.sandbox.trainer``: one run. The order comes on standard input, the result goes to result.json."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from local.sandbox.trainer.cog import error_text, predict
from local.sandbox.trainer.console import Console
from local.sandbox.trainer.order import Order
from local.sandbox.trainer.parent import die_with
from local.sandbox.trainer.s3 import connect

RESULT_FILE = "result.json"
_ON = frozenset({"1", "true", "yes", "on"})


def main() -> int:
    order = Order.parse(sys.stdin.buffer.read())
    die_with(order.parent)
    work = Path.cwd()
    console = Console()
    result: dict[str, str | None] = {"output": None, "error": None}
    try:
        result["output"] = predict(
            order,
            work,
            connect=connect,
            console=console,
            sleep=time.sleep,
            monotonic=time.monotonic,
            publish_final=os.environ.get("SIMPLETUNER_PUBLISH_FINAL_ARTIFACTS", "").lower() in _ON,
        )
    except Exception as error:  # noqa: BLE001 - Cog makes a failed prediction of whatever the predictor raises
        result["error"] = error_text(error)
        console.say(f"{type(error).__name__}: {error}")
    (work / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")
    return 0 if result["error"] is None else 1


if __name__ == "__main__":
    sys.exit(main())
