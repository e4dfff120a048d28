"""Why a training ended badly, as a stable code with advice. A table; the first rule that fits decides.

The provider's ``error`` is asked before the end of the log, since a log also holds problems that were overcome. The
texts are those of PyTorch, Hugging Face, botocore, SimpleTuner's Cog (run and recorded) and Replicate
(https://replicate.com/docs/reference/error-codes and .../docs/topics/predictions/lifecycle).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.failures import Failure, FaultKind
from chalicelib.domain.predictions import Prediction, PredictionStatus
from chalicelib.domain.progress import display_logs
from chalicelib.domain.redaction import redact

#: How much of the log's end is looked at, in characters; a Python traceback is a few thousand.
LOG_TAIL = 16_000
MAX_QUOTE = 300
#: The provider ends a training at its deadline by a clock of its own.
DEADLINE_SLACK = timedelta(seconds=30)
#: Each layer of the trainer's server puts the same words before an error: ``Prediction failed: Prediction failed: …``.
_SAID_AGAIN = re.compile(r"^([^:\n]{1,60}: ?)\1+")


@dataclass(frozen=True)
class _Rule:
    """``in_log`` allows looking for it in the log too; provider matters are only believed in the provider's error."""

    code: str
    kind: FaultKind
    message: str
    advice: str
    pattern: re.Pattern[str]
    in_log: bool = True


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


_RULES: tuple[_Rule, ...] = (
    _Rule(
        "out_of_memory",
        FaultKind.USER,
        "The training needed more memory than the machine has.",
        "Lower train_batch_size or the resolution, turn on gradient_checkpointing or quantise the base model, or "
        "choose a larger hardware profile.",
        _any(
            r"CUDA out of memory",
            r"\bOutOfMemoryError\b",
            r"CUBLAS_STATUS_ALLOC_FAILED",
            r"can't allocate memory",
            r"\bE1001\b",
            r"exit ?code:? ?-9\b",
            r"\bMemoryError\b",
            r"ran out of memory",
        ),
    ),
    _Rule(
        "disk_full",
        FaultKind.USER,
        "The machine's disk was full.",
        "Keep fewer checkpoints (checkpoints_total_limit, a larger checkpoint_step_interval) or use fewer or smaller "
        "images.",
        _any(r"No space left on device", r"\bENOSPC\b", r"\[Errno 28\]", r"Disk quota exceeded"),
    ),
    _Rule(
        "gated_model",
        FaultKind.USER,
        "The base model can't be downloaded without permission.",
        "Choose a base model that downloads without a login: this service hands no Hugging Face token to the trainer.",
        _any(
            r"\bGatedRepoError\b",
            r"Cannot access gated repo",
            r"Access to model \S{1,200} is restricted",
            r"must (?:have access to it and )?be authenticated to access it",
            r"401 Client Error[^\n]{0,200}huggingface\.co",
        ),
    ),
    _Rule(
        "model_not_found",
        FaultKind.USER,
        "The base model does not exist under this name.",
        "Check pretrained_model_name_or_path and the revision in the config.",
        _any(
            r"\b(?:RepositoryNotFoundError|RevisionNotFoundError|EntryNotFoundError)\b",
            r"404 Client Error[^\n]{0,200}huggingface\.co",
            r"is not a valid model identifier",
        ),
    ),
    _Rule(
        "storage_expired",
        FaultKind.OURS,
        "The trainer's temporary access to the storage ran out.",
        "Submit again with fewer steps or a shorter max_run_seconds; what was published is kept in the outputs.",
        _any(r"\bExpiredToken(?:Exception)?\b", r"provided token has expired"),
    ),
    _Rule(
        "storage_refused",
        FaultKind.OURS,
        "The trainer could not reach the stack's storage.",
        "Check that the storage endpoint can be reached from the provider and that the trainer's access key is valid, "
        "then submit again.",
        _any(
            r"\b(?:InvalidAccessKeyId|SignatureDoesNotMatch|NoSuchBucket|InvalidClientTokenId)\b",
            r"\(AccessDenied\)",
            r"\bEndpointConnectionError\b",
            r"Could not connect to the endpoint URL",
            r"An error occurred \(403\)",
        ),
    ),
    _Rule(
        "dataset_unreadable",
        FaultKind.USER,
        "The trainer could not use the dataset.",
        "Check that the dataset holds readable pictures of at least minimum_image_size and captions as the "
        "caption_strategy expects, then push it again with `stcloud datasets push`.",
        _any(
            r"\bUnidentifiedImageError\b",
            r"cannot identify image file",
            r"No images (?:were )?(?:found|discovered)",
            r"(?:no|zero|0) (?:images|samples|usable images)(?: were)? (?:left|remain|found)",
            r"\bNoSuchKey\b",
            r"image file is truncated",
            r"No captions? (?:were )?found",
            r"(?:dataset|data backend)\b[^\n]{0,120}\b(?:is empty|has no images|not found|could not be read)",
            r"Unsafe zip path detected",
            r"Caption file [^\n]{1,600} not found",
            r"zero usable batches",
            r"produced no usable samples",
        ),
    ),
    _Rule(
        "config_rejected",
        FaultKind.USER,
        "The trainer refused the config.",
        "Mend the option it names and submit again.",
        _any(
            r"Input validation error",
            r"failed to parse",
            r"unrecognized arguments",
            r"error: argument ",
            r"invalid choice",
            r"the following arguments are required",
            r"unexpected keyword argument",
            r"max_train_steps[^\n]{0,120}num_train_epochs",
            r"num_train_epochs[^\n]{0,120}max_train_steps",
            r"is required when using",
            r"No training config found",
            r"ValueError: [^\n]{0,200}--\w",
        ),
    ),
    _Rule(
        "loss_diverged",
        FaultKind.USER,
        "The training diverged: its loss was not a number any more.",
        "Lower the learning rate, raise lr_warmup_steps, or use bf16 instead of fp16.",
        _any(r"\bloss (?:is|was|became) (?:nan|inf|not finite)", r"\bnan loss\b", r"non-finite (?:training )?loss"),
    ),
    _Rule(
        "gpu_fault",
        FaultKind.PROVIDER,
        "The provider's GPU did not work.",
        "Submit again; you will likely get another machine.",
        _any(
            r"No CUDA GPUs are available",
            r"CUDA driver initialization failed",
            r"uncorrectable ECC",
            r"CUDA error: (?:an illegal memory access|unspecified launch failure|unknown error|device-side)",
            r"\bNCCL (?:error|timeout)\b",
        ),
    ),
    _Rule(
        "provider_start_timeout",
        FaultKind.CAPACITY,
        "The provider could not start the training in time.",
        "Submit again later or choose another hardware profile.",
        _any(r"\bE6716\b", r"timeout starting prediction"),
        in_log=False,
    ),
    _Rule(
        "provider_timeout",
        FaultKind.PROVIDER,
        "The provider ended the training at its own time limit.",
        "Ask the provider's support to raise the run time limit of your account (Replicate's is 30 minutes unless "
        "raised), or train fewer steps.",
        _any(
            r"prediction timed out",
            r"(?:run ?time|running time|time) limit",
            r"exceeded (?:the )?(?:maximum|max|allowed)[^\n]{0,40}(?:time|duration)",
            r"timed out after (?:running|\d)",
            r"\bPrediction (?:time-?out|exceeded its timeout)",
        ),
        in_log=False,
    ),
    _Rule(
        "provider_interrupted",
        FaultKind.PROVIDER,
        "The provider interrupted the training.",
        "Submit again. Checkpoints published before are kept in the outputs.",
        _any(
            r"prediction interrupted",
            r"\(code: PA\)",
            r"\bE1000\b",
            r"unexpected error handling prediction",
            r"health ?check",
            r"please retry",
            r"(?:worker|container|node|instance) (?:was )?(?:killed|terminated|evicted|preempted|lost)",
        ),
        in_log=False,
    ),
    _Rule(
        "download_failed",
        FaultKind.PROVIDER,
        "The trainer could not download what it needs.",
        "Submit again later; if it stays, check the addresses in the config.",
        _any(
            r"Max retries exceeded with url",
            r"\bReadTimeoutError\b",
            r"Temporary failure in name resolution",
            r"\b50[0234] Server Error[^\n]{0,200}huggingface\.co",
            r"\bLocalEntryNotFoundError\b",
        ),
    ),
)

_UNKNOWN_ADVICE = "Look at the end of the log, then submit again; if it happens twice, report it with the log."


def classify_failure(prediction: Prediction, *, now: datetime) -> Failure | None:
    """Why ``prediction`` ended without a model.

    ``now`` (aware) stands in when the provider gives no end time. Returns None for a training that somebody cancelled
    at the provider: that is an end, not a failure. Never holds a secret. Raises ValueError for a prediction that is
    not over or succeeded.
    """
    match prediction.status:
        case PredictionStatus.ABORTED:
            return Failure(
                code="aborted_before_start",
                kind=FaultKind.CAPACITY,
                message="No machine became free before the job's deadline, so the training never started.",
                advice="Nothing was billed. Submit again later, with a longer max_run_seconds or other hardware.",
            )
        case PredictionStatus.CANCELED:
            return _deadline(prediction) if _past_deadline(prediction, now) else None
        case PredictionStatus.FAILED:
            return _failed(prediction)
    raise ValueError(f"a prediction that is {prediction.status} has no failure")


def _past_deadline(prediction: Prediction, now: datetime) -> bool:
    if prediction.deadline is None:
        return "deadline" in (prediction.error or "").lower()
    return (prediction.completed_at or now) >= prediction.deadline - DEADLINE_SLACK


def _deadline(prediction: Prediction) -> Failure:
    when = f" ({prediction.deadline.isoformat(timespec='seconds')})" if prediction.deadline else ""
    return Failure(
        code="cancelled_by_provider_deadline",
        kind=FaultKind.LIMIT,
        message=f"The training was still running at the job's deadline{when} and was stopped.",
        advice="Submit again with a longer max_run_seconds or fewer steps. Checkpoints published before are kept.",
    )


def _failed(prediction: Prediction) -> Failure:
    error = prediction.error or ""
    # Redraws of a progress bar would fill the tail; a little more is cut first so that work stays bounded.
    log = display_logs((prediction.logs or "")[-8 * LOG_TAIL :])[-LOG_TAIL:]
    for text, from_log in ((error, False), (log, True)):
        for rule in _RULES:
            if from_log and not rule.in_log:
                continue
            if found := rule.pattern.search(text):
                return Failure(
                    code=rule.code,
                    kind=rule.kind,
                    message=_with_quote(rule.message, _line_at(text, found.start())),
                    advice=rule.advice,
                )
    return Failure(
        code="unknown",
        kind=FaultKind.PROVIDER,
        message=_with_quote("The training failed.", _line_at(error, 0) or _last_line(log)),
        advice=_UNKNOWN_ADVICE,
    )


def _line_at(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[start : end if end >= 0 else len(text)]


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.split("\n")) if line.strip()), "")


def _with_quote(message: str, quote: str) -> str:
    """The provider's own words behind ours: one line, printable, without secrets, at most MAX_QUOTE characters, and a
    beginning that is said several times once."""
    words = " ".join("".join(c if c.isprintable() else " " for c in redact(quote)).split())
    words = _SAID_AGAIN.sub(r"\1", words)
    if len(words) > MAX_QUOTE:
        words = f"{words[: MAX_QUOTE - 1]}…"
    return f"{message} It said: {words}" if words else message
