"""Rules across the options of a run: what excludes each other, what needs each other, what wastes money.

Errors are what the trainer itself refuses, read in SimpleTuner 4.10.1, ``configuration/cmd_args.py``
(``parse_cmdline_args``). It refuses after the GPU has been started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.launch_payload import inline_lycoris
from chalicelib.domain.option_checks import number
from chalicelib.domain.simpletuner_options import Options, closest
from chalicelib.domain.wording import count_text

CHECK = "config"
MAX_VALIDATIONS = 20
_GUIDED = frozenset({"sd3", "wan", "wan_s2v", "zlab_i1", "moss_image"})
#: Usual learning rates: SimpleTuner's quickstarts.
_RATES = {"lora": (1e-5, 1e-3), "full": (1e-7, 1e-5)}
_HIGH_RANK = 64
_LORA_OPTIONS = ("lora_rank", "lora_alpha", "lora_dropout", "lora_type", "flux_lora_target")
_MIN_METADATA_INTERVAL = 60
#: Optimizers that set the learning rate themselves take 1.0.
_RATE_FREE = ("prodigy", "schedulefree")


def _found(level: Level, code: str, option: str, message: str, advice: str) -> Finding:
    return Finding(level, code, CHECK, f"config.{option}", message, advice)


_error = partial(_found, Level.ERROR)
_warning = partial(_found, Level.WARNING)
_note = partial(_found, Level.NOTE)


def check_run(config: Mapping[str, Any], steps: int, known: Options) -> Iterator[Finding]:
    """``config`` as it will be launched (without dashes), ``steps`` its number of steps."""
    yield from _length(config, steps)
    yield from _model(config, known)
    yield from _lora(config)
    yield from _precision(config)
    yield from _optimizer(config)
    yield from _pictures(config)
    if str(config.get("report_to") or "none").lower() != "none":
        yield _warning(
            "tracker_without_key",
            "report_to",
            "The trainer's image takes no key for a tracker, so reporting would fail or be lost.",
            "Set report_to to none. Loss and steps are shown here: stcloud jobs watch.",
        )


def _length(config: Mapping[str, Any], steps: int) -> Iterator[Finding]:
    warm_up = number(config.get("lr_warmup_steps"))
    if warm_up is not None and warm_up > steps:
        yield _error(
            "warmup_exceeds_steps",
            "lr_warmup_steps",
            f"The learning rate would still be rising at the run's end, after {count_text(steps, 'step')}: "
            f"lr_warmup_steps is {warm_up:g}.",
            f"Set lr_warmup_steps to {max(0, steps // 10)} or less, or train for longer.",
        )
    interval = number(config.get("validation_step_interval"))
    if interval and interval >= 1:
        count = int(steps // interval)
        if count > MAX_VALIDATIONS:
            yield _warning(
                "many_validations",
                "validation_step_interval",
                f"Samples would be drawn {count} times, each time at the GPU's price.",
                f"Set validation_step_interval to {max(1, steps // 10)}, or accept it.",
            )


def _model(config: Mapping[str, Any], known: Options) -> Iterator[Finding]:
    family, flavour = config.get("model_family"), config.get("model_flavour")
    about = known.families.get(family.lower()) if isinstance(family, str) else None
    if about and about.flavours and isinstance(flavour, str) and flavour and flavour not in about.flavours:
        meant = closest(flavour, about.flavours)
        yield _warning(
            "unknown_choice",
            "model_flavour",
            f"SimpleTuner {known.version} has no flavour '{flavour[:60]}' of {family}.",
            f"Did you mean {meant}?" if meant else f"It has: {', '.join(about.flavours)}.",
        )
    yield from _base_model(config, family, known)
    layers = config.get("validation_guidance_skip_layers")
    if layers not in (None, "") and about is not None and family not in _GUIDED:
        yield _error(
            "invalid",
            "validation_guidance_skip_layers",
            f"Skipping layers is not possible with {family}.",
            "Leave validation_guidance_skip_layers out.",
        )
    if config.get("quantization_config") not in (None, "") and _kind(config) == "full":
        yield _error(
            "invalid", "quantization_config", "It goes with model_type lora only.", "Leave quantization_config out."
        )


def _base_model(config: Mapping[str, Any], family: Any, known: Options) -> Iterator[Finding]:
    """A base model that is known as another family's; the trainer finds out when it loads the weights."""
    named = config.get("pretrained_model_name_or_path")
    if not isinstance(named, str) or not isinstance(family, str) or family.lower() not in known.families:
        return
    others = known.families_of(named)
    if not others or family.lower() in others:
        return
    own = known.base_model(family, config.get("model_flavour")) or known.base_model(family, None)
    yield _warning(
        "family_mismatch",
        "pretrained_model_name_or_path",
        f"{named[:100]} is a model of the family {' or '.join(others)}, and model_family is {family}.",
        f"Set model_family to {others[0]}, or leave pretrained_model_name_or_path out"
        + (f" for {own}." if own else " for the family's own."),
    )


def _kind(config: Mapping[str, Any]) -> str | None:
    """``lora`` or ``full``; None for what is neither: the check of the options tells of it, and nothing follows."""
    kind = str(config.get("model_type") or "full")
    return kind if kind in {"lora", "full"} else None


def _lora(config: Mapping[str, Any]) -> Iterator[Finding]:
    kind = _kind(config)
    if kind is None:
        return
    if kind != "lora":
        unused = [name for name in _LORA_OPTIONS if config.get(name) not in (None, "")]
        if unused:
            yield _note(
                "lora_options_unused",
                unused[0],
                f"model_type is {kind}: {', '.join(unused)} {'has' if len(unused) == 1 else 'have'} no effect.",
                "Set model_type to lora to train an add-on file instead of all the weights.",
            )
        return
    if str(config.get("lora_type", "standard")).lower() == "lycoris":
        yield from _lycoris(config)
        return
    rank, alpha = number(config.get("lora_rank")), number(config.get("lora_alpha"))
    if rank is not None and alpha is not None and rank != alpha:
        yield _note(
            "alpha_differs", "lora_alpha", f"lora_alpha {alpha:g} differs from lora_rank {rank:g}.", "Equal is usual."
        )
    if rank is not None and rank >= _HIGH_RANK and str(config.get("model_family")).startswith("flux"):
        yield _note(
            "high_rank", "lora_rank", f"Rank {rank:g} is high for Flux: slower, and forgets more.", "Try 16 first."
        )


def _lycoris(config: Mapping[str, Any]) -> Iterator[Finding]:
    given = config.get("lycoris_config")
    if given in (None, "", {}):
        yield _error(
            "lycoris_config_missing",
            "lycoris_config",
            "lora_type lycoris needs a lycoris_config.",
            "Put the content of lycoris_config.json here, or use lora_type standard.",
        )
        return
    content = inline_lycoris(given)
    if content is None:
        yield _error(
            "lycoris_config_unreachable",
            "lycoris_config",
            "It names a file, and files of your computer do not exist on the rented machine.",
            "Put the content of that file here instead of its name.",
        )
        return
    needed = ["algo", "multiplier", "linear_alpha"] + ([] if content.get("full_matrix") is True else ["linear_dim"])
    for name in needed:
        if name not in content:
            yield _error("missing", f"lycoris_config.{name}", f"{name} is missing.", "SimpleTuner insists on it.")


def _precision(config: Mapping[str, Any]) -> Iterator[Finding]:
    base = str(config.get("base_model_precision") or "no_change")
    mixed = str(config.get("mixed_precision") or "bf16")
    quantised = base != "no_change"
    if quantised and mixed == "fp8" and base != "fp8-torchao":
        yield _error(
            "precision_conflict",
            "mixed_precision",
            "mixed_precision fp8 can't be combined with a quantised base model.",
            "Use mixed_precision bf16, or base_model_precision no_change.",
        )
    if quantised and _kind(config) == "full":
        yield _warning(
            "quantised_full",
            "base_model_precision",
            f"All the weights are to be trained, and {base[:40]} would round them while they are.",
            "Use base_model_precision no_change, or model_type lora.",
        )
    optimizer = config.get("optimizer")
    if optimizer == "adamw_bf16" and not quantised and mixed in {"no", "fp16"}:
        yield _warning(
            "precision_conflict",
            "mixed_precision",
            f"optimizer adamw_bf16 works on bf16 weights, and mixed_precision is {mixed}.",
            "Use mixed_precision bf16, or another optimizer.",
        )


def _optimizer(config: Mapping[str, Any]) -> Iterator[Finding]:
    betas = [name for name in ("optimizer_beta1", "optimizer_beta2") if config.get(name) not in (None, "")]
    if len(betas) == 1:
        yield _error("invalid", betas[0], "optimizer_beta1 and optimizer_beta2 go together.", "Give both, or none.")
    if config.get("lr_scheduler") == "cosine_with_restarts":
        yield _note(
            "scheduler_unsteady",
            "lr_scheduler",
            "SimpleTuner's own log calls cosine_with_restarts misbehaving.",
            "Consider sine.",
        )
    rate = number(config.get("learning_rate"))
    if rate is None or any(word in str(config.get("optimizer", "")) for word in _RATE_FREE):
        return
    if rate > 1:
        yield _warning(
            "learning_rate",
            "learning_rate",
            f"With a learning rate of {rate:g} nothing useful is learned.",
            "1e-4 is usual for a LoRA, 1e-6 for all the weights.",
        )
        return
    kind = _kind(config)
    low, high = _RATES.get(kind or "", (0.0, 1.0))
    if rate > 0 and not low <= rate <= high:
        yield _note(
            "learning_rate_unusual",
            "learning_rate",
            f"{rate:g} is outside the usual range for {kind} ({low:g} to {high:g}).",
            "Make sure that it is meant so.",
        )


def _pictures(config: Mapping[str, Any]) -> Iterator[Finding]:
    unit = config.get("resolution_type") or "pixel_area"
    sizes = {name: number(config.get(name)) for name in ("maximum_image_size", "target_downsample_size")}
    if sizes["maximum_image_size"] is not None and not sizes["target_downsample_size"]:
        yield _error(
            "missing",
            "target_downsample_size",
            "maximum_image_size needs a target_downsample_size.",
            "Set target_downsample_size to the size that larger pictures are shrunk to.",
        )
    for name, size in sizes.items():
        if size is not None and ((unit == "area" and size > 5) or (unit == "pixel" and size < 512)):
            yield _error(
                "wrong_unit",
                name,
                f"{name} {size:g} is in another unit than resolution_type {unit}.",
                "Use resolution_type pixel_area with the edge in pixels: 1024, for example.",
            )
    every = number(config.get("metadata_update_interval"))
    if every is not None and every < _MIN_METADATA_INTERVAL:
        yield _error("invalid", "metadata_update_interval", "It must be 60 seconds or more.", "Leave it out.")
    portion = number(config.get("timestep_bias_portion"))
    if portion is not None and not 0 <= portion <= 1:
        yield _error("invalid", "timestep_bias_portion", "It must be from 0 to 1.", "Leave it out.")
