"""SimpleTuner's Cog predictor: inputs become one training config, the training's end becomes the output."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local.sandbox.trainer.config import merge, parse
from local.sandbox.trainer.console import Console
from local.sandbox.trainer.order import Order
from local.sandbox.trainer.run import Training
from local.sandbox.trainer.s3 import Connect

DOWNLOAD_SECONDS = 15.0
MAX_ARCHIVE_BYTES = 512 * 1024 * 1024
#: Cog wraps what the predictor raises; recorded from Cog 0.23.1's HTTP server with SimpleTuner's predictor.
_FAILED = "Prediction failed: Prediction failed: "


class InputError(Exception):
    """An input Cog itself could not take, before the predictor ran. The message is the prediction's error."""


Fetch = Callable[[str], bytes]


def fetch(url: str) -> bytes:
    """An input file, bounded in time and size. Raises OSError or ValueError."""
    with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as answer:  # noqa: S310 - http and data only
        data: bytes = answer.read(MAX_ARCHIVE_BYTES + 1)
    if len(data) > MAX_ARCHIVE_BYTES:
        raise ValueError(f"the file is larger than {MAX_ARCHIVE_BYTES} bytes")
    return data


def predict(
    order: Order,
    work: Path,
    *,
    connect: Connect,
    console: Console,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
    publish_final: bool = False,
    fetch: Fetch = fetch,
) -> str:
    """Runs the training below ``work`` and returns the prediction's output text.

    Raises InputError for inputs Cog refuses, ValueError and FileNotFoundError for those the predictor refuses, and
    whatever the training raises.
    """
    given = order.given
    archive = _archive(given.get("images"), fetch)
    config = _json(given.get("config_json"), "config_json")
    dataloader = _json(given.get("dataloader_json"), "dataloader_json")
    lycoris = _json(given.get("lycoris_config"), "lycoris_config")
    overrides: dict[str, Any] = {}
    if lycoris is not None:
        overrides["lycoris_config"] = lycoris
    if given.get("s3_bucket"):
        overrides["publishing_config"] = [_publishing(given)]
    if given.get("hub_model_id"):
        if not given.get("hf_token"):
            raise ValueError("hf_token is required when using hub_model_id for HuggingFace Hub publishing.")
        overrides |= {"push_to_hub": True, "hub_model_id": given["hub_model_id"]}
    if given.get("max_train_steps") is not None:
        overrides["max_train_steps"] = given["max_train_steps"]
    console.say("[COG] Webhook receiver started on http://127.0.0.1:0/webhook")
    console.say(
        "[COG] Local sandbox: a small CPU model in place of a GPU. Its adapter is of no use for making pictures."
    )
    try:
        if not config:
            raise FileNotFoundError("No training config found. Provide a config JSON or create config/config.json.")
        if not isinstance(config, Mapping):
            raise TypeError("config_json must be a JSON object of CLI args.")
        if dataloader is None:
            _stage(archive)
        merged = merge(config, overrides)
        merged.setdefault("output_dir", f"output/cog/cog-{order.prediction_id[:10]}")
        if str(merged.get("push_to_hub", "")).lower() in {"true", "1"}:
            console.log("WARNING", "push_to_hub: the local sandbox never talks to the Hugging Face Hub")
        training = Training(parse(merged), order, connect=connect, console=console, sleep=sleep, monotonic=monotonic)
        training.run(dataloader, work, publish_final=publish_final)
    finally:
        console.say("[COG] Webhook receiver stopped")
    if given.get("return_logs", True) and (tail := console.debug_tail()):
        console.say(f"\n=== debug.log tail ===\n{tail}")
    output = _output(given, str(merged["output_dir"]))
    console.say(f"\n{output}" if output.startswith("Training") else f"\nCheckpoints published to: {output}")
    return output


def error_text(error: Exception) -> str:
    """The prediction's ``error`` for what ``predict`` raised."""
    return str(error) if isinstance(error, InputError) else f"{_FAILED}{type(error).__name__}: {error}"


def _json(value: object, name: str) -> Any:
    """Inline JSON, or None without any. Files of the image can't be named: the sandbox has none."""
    text = str(value or "").strip()
    if not text:
        return None
    if text[0] not in "{[":
        raise FileNotFoundError(f"{name} file not found: {text[:200]}")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} looks like JSON but failed to parse: {error}") from None
    except RecursionError:
        raise ValueError(f"{name} looks like JSON but failed to parse: it is nested too deeply") from None


def _archive(url: object, fetch: Fetch) -> bytes | None:
    """Cog downloads a file input before it calls the predictor, whether that needs it or not."""
    if not url:
        return None
    try:
        return fetch(str(url))
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(f"Input validation error: {str(url)[:200]}: {reason}") from None


def _stage(archive: bytes | None) -> None:
    """Unpacking ``images`` always fails in SimpleTuner 4.10.1: it compares a relative path with absolute ones."""
    if archive is None:
        raise ValueError("Either dataset_archive or dataloader config must be provided.")
    first: str | None
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as unpacked:
            kind, first = "zip", next(iter(unpacked.namelist()), None)
    except zipfile.BadZipFile:
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                member = tar.next()
                kind, first = "tar", member.name if member else None
        except tarfile.TarError:
            raise ValueError("Unsupported dataset archive format. Use .zip or .tar.") from None
    if first is None:
        raise ValueError("No images were found: the archive is empty.")
    raise ValueError(f"Unsafe {kind} path detected: {first}")


def _publishing(given: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"provider": "s3", "bucket": given["s3_bucket"], "base_path": given.get("s3_base_path") or "simpletuner"}
    for name in ("region", "endpoint_url", "access_key", "secret_key", "public_base_url"):
        if given.get(f"s3_{name}"):
            entry[name] = given[f"s3_{name}"]
    return entry


def _output(given: Mapping[str, Any], output_dir: str) -> str:
    if not given.get("s3_bucket"):
        if given.get("hub_model_id"):
            return f"https://huggingface.co/{given['hub_model_id']}"
        return f"Training complete. Output: {output_dir}"
    path = str(given.get("s3_base_path") or "simpletuner").lstrip("/")
    if given.get("s3_public_base_url"):
        return f"{str(given['s3_public_base_url']).rstrip('/')}/{path}"
    if given.get("s3_endpoint_url"):
        return f"{str(given['s3_endpoint_url']).rstrip('/')}/{given['s3_bucket']}/{path}"
    return f"s3://{given['s3_bucket']}/{path}"
