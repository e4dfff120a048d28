"""The demo's job: push, save the config, train, fetch, check."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.demo.errors import DemoError, DemoSkippedError
from local.demo.model import Weights, read_weights
from local.demo.shell import Shell, json_of

CONFIG_NAME = "demo-flux-lora"
DATASET_ID = "demo-photographs"
PROMPT = "a cup of espresso on a red saucer, beside it a tabby cat with green eyes"
TRAIN_SECONDS = 1800
OTHER_SECONDS = 300


@dataclass(frozen=True)
class Report:
    job: dict[str, Any]
    weights: list[Weights]
    folder: Path


def config(steps: int) -> dict[str, Any]:
    """A FLUX LoRA as SimpleTuner users write it: a checkpoint and a validation at the middle and at the end."""
    half = max(1, steps // 2)
    return {
        "--model_family": "flux",
        "--model_type": "lora",
        "--pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev",
        "--output_dir": "output/demo",
        "--max_train_steps": steps,
        "--num_train_epochs": 0,
        "--checkpoint_step_interval": half,
        "--validation_step_interval": half,
        "--validation_prompt": PROMPT,
        "--lora_rank": 16,
        "--learning_rate": 1e-4,
        "--train_batch_size": 1,
        "--resolution": 512,
        "--resolution_type": "pixel",
        "--mixed_precision": "bf16",
        "--seed": 42,
    }


def dataloader(images: Path) -> list[dict[str, Any]]:
    return [
        {
            "id": DATASET_ID,
            "type": "local",
            "dataset_type": "image",
            "instance_data_dir": str(images),
            "caption_strategy": "textfile",
            "crop": True,
            "crop_aspect": "square",
            "resolution": 512,
            "resolution_type": "pixel",
        }
    ]


def run_demo(
    shell: Shell,
    images: Path,
    work: Path,
    *,
    url: str,
    steps: int,
    pay: bool,
    say: Callable[[str], None],
    downloads: Path,
) -> Report:
    """Runs the whole job through ``shell`` and checks what came back. Raises DemoError, DemoSkippedError."""
    _check_stack(shell, pay=pay, say=say)
    _check_caller(shell, url, say=say)
    work.mkdir(parents=True, exist_ok=True)
    config_file, dataloader_file = work / "config.json", work / "multidatabackend.json"
    config_file.write_text(json.dumps(config(steps), indent=2) + "\n", encoding="utf-8")
    dataloader_file.write_text(json.dumps(dataloader(images), indent=2) + "\n", encoding="utf-8")
    shell.run("datasets", "push", str(images), "--id", DATASET_ID, "--yes", seconds=OTHER_SECONDS)
    shell.run(
        "configs",
        "push",
        CONFIG_NAME,
        str(config_file),
        "--dataloader",
        str(dataloader_file),
        "--description",
        "FLUX LoRA on the demo photographs",
        seconds=OTHER_SECONDS,
    )
    job_id = shell.run(
        "jobs", "submit", "--config-name", CONFIG_NAME, "--run-name", "demo", "--watch", seconds=TRAIN_SECONDS
    ).strip()
    if not job_id:
        raise DemoError("The submit printed no job id.")
    job = json_of(shell.run("jobs", "get", job_id, "--json", seconds=OTHER_SECONDS, echo=False))["job"]
    folder = downloads / job_id
    pulled = json_of(shell.run("jobs", "pull", job_id, "--to", str(folder), "--json", seconds=OTHER_SECONDS))
    return Report(job, _checked(pulled, job_id), folder)


def _check_stack(shell: Shell, *, pay: bool, say: Callable[[str], None]) -> None:
    health = json_of(shell.run("status", "--json", "--quiet", seconds=OTHER_SECONDS, echo=False))
    if health["status"] == "unhealthy":
        raise DemoError("The stack is not well. See: stcloud status", 4)
    if health["sandbox"]:
        say("This is the local sandbox: a toy model on this computer's CPU. No GPU is used, nothing is billed.")
    elif pay:
        say("This stack rents real GPUs. The demo's training will be billed.")
    else:
        raise DemoError("This stack rents real GPUs, and the demo would be billed. Add --pay if that is wanted.", 2)


def _check_caller(shell: Shell, url: str, *, say: Callable[[str], None]) -> None:
    who = shell.who(seconds=OTHER_SECONDS)
    if who is None:
        raise DemoSkippedError(f"This stack has people now; sign in: stcloud login --url {url}")
    if who["kind"] != "local":
        say(f"As {who['username']} ({who['role']}).")


def _checked(pulled: dict[str, Any], job_id: str) -> list[Weights]:
    files = [f for f in pulled["files"] if f["kind"] == "weights"]
    if not files:
        raise DemoError(f"{job_id} completed, but no weights came back.")
    if not pulled["verified"]:
        raise DemoError(f"{job_id} completed, but its files are not recorded as verified.")
    found = []
    for file in files:
        weights = read_weights(Path(file["path"]))
        if weights.sha256 != file["sha256"]:
            raise DemoError(f"{weights.path} does not have the SHA-256 that the job's record names.")
        if not weights.moved:
            raise DemoError(f"{weights.path} holds nothing but zeros: it was not trained.")
        found.append(weights)
    return found


def summary(report: Report) -> list[str]:
    """The report in lines."""
    job, progress = report.job, report.job["progress"]
    loss = progress.get("loss")
    cost = job.get("cost_usd")
    lines = [
        "",
        f"Job {job['job_id']}: {progress.get('step')} of {progress.get('total_steps')} steps"
        + (f", last loss {loss:.4f}" if loss is not None else ""),
    ]
    if cost is not None:
        note = " at GPU prices; nothing is billed in the sandbox" if job["sandbox"] else ""
        lines.append(f"Cost: ${cost:.4f}{note}")
    for weights in report.weights:
        rank = f", rank {weights.rank}" if weights.rank is not None else ""
        lines += [
            f"Weights: {weights.tensors} tensors, {weights.parameters:,} numbers ({', '.join(weights.dtypes)}){rank}",
            f"SHA-256: {weights.sha256[:16]}… as the job's record says; every number is finite, "
            f"{weights.moved} of {weights.tensors} tensors are not zero",
            f"Here:    {weights.path}",
        ]
    if job["sandbox"]:
        lines.append("The weights are real safetensors of a toy model: they show the way, and make no pictures.")
    lines.append(f"The other files (samples, checkpoints): stcloud jobs pull {job['job_id']} --kind all")
    return lines
