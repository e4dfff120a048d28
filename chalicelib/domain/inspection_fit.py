"""Whether a version suits a configuration: sizes against the resolution, buckets against the batch, captions against
the text encoder. Pure; what it needs is stored in every report."""

from __future__ import annotations

from chalicelib.domain.aspect import CropAspect, ResolutionType, Sizing, sort_into_buckets
from chalicelib.domain.captions import CLIP_TOKENS, T5_LONG_TOKENS, T5_SHORT_TOKENS
from chalicelib.domain.inspection_facts import ReportFacts
from chalicelib.domain.inspection_findings import Finding, Level, in_order

#: Up to this share of images may be smaller than their target without a warning.
SMALL_SHARE = 0.10
#: Buckets that a message names.
MAX_NAMED = 5
#: Families whose only text encoder is CLIP, and those whose T5 reads no more than 256 tokens unless told otherwise.
_CLIP_FAMILIES = frozenset({"sd1x", "sd2x", "sdxl", "kolors", "stable_cascade"})
_T5_SHORT_FAMILIES = frozenset({"sd3", "sana", "pixart_sigma", "pixart", "auraflow", "ltxvideo"})


def fit(
    facts: ReportFacts,
    *,
    resolution: float,
    resolution_type: str = ResolutionType.PIXEL_AREA,
    batch_size: int = 1,
    repeats: int = 0,
    crop: bool = False,
    crop_aspect: str = CropAspect.SQUARE,
    crop_aspect_buckets: tuple[float, ...] = (),
    minimum_image_size: float | None = None,
    gradient_accumulation_steps: int = 1,
    gpus: int = 1,
    bucket_pruning: bool = True,
) -> list[Finding]:
    """What the images of a version make of these settings of a dataset entry, SimpleTuner's names and meanings.

    ``repeats`` counts from 0, as there. Raises ValueError for an unknown ``resolution_type`` or ``crop_aspect``, and
    for a number that is out of range.
    """
    if resolution <= 0 or batch_size < 1 or repeats < 0 or gradient_accumulation_steps < 1 or gpus < 1:
        raise ValueError("resolution, batch size, accumulation and GPUs are positive, repeats not negative")
    sizing = Sizing(
        resolution=resolution,
        kind=ResolutionType(resolution_type),
        crop=crop,
        crop_aspect=CropAspect(crop_aspect),
        crop_aspect_buckets=crop_aspect_buckets,
        minimum=minimum_image_size,
    )
    found = sort_into_buckets(facts.sizes, sizing)
    findings = []
    if found.left_out:
        findings.append(
            _finding(
                Level.WARNING if found.left_out < found.images else Level.ERROR,
                "images_below_minimum",
                f"{found.left_out:,} of {found.images:,} images are below minimum_image_size {minimum_image_size:g} "
                "and are left out.",
                "Lower minimum_image_size, or add larger pictures.",
                found.left_out,
            )
        )
    if found.upscaled:
        share = found.upscaled / found.images
        findings.append(
            _finding(
                Level.WARNING if share > SMALL_SHARE else Level.NOTE,
                "images_too_small",
                f"{found.upscaled:,} of {found.images:,} images ({share:.0%}) are smaller than what resolution "
                f"{resolution:g} ({sizing.kind.value}) asks for, and are scaled up.",
                "Lower the resolution, use larger pictures, or set minimum_image_size to leave small ones out.",
                found.upscaled,
            )
        )
    if not (crop and sizing.crop_aspect is CropAspect.RANDOM):
        effective = batch_size * gradient_accumulation_steps * gpus
        pruned = bucket_pruning and minimum_image_size is not None
        least = batch_size if pruned else effective
        short = [b for b in found.buckets if b.images * (repeats + 1) < least]
        if short:
            images = sum(b.images for b in short)
            named = ", ".join(f"{b.aspect:g} ({b.images} of {least})" for b in short[:MAX_NAMED])
            more = f" and {len(short) - MAX_NAMED} more" if len(short) > MAX_NAMED else ""
            needed = max(b.repeats_for(least) for b in short)
            cut = pruned and len(short) < len(found.buckets)
            findings.append(
                _finding(
                    Level.WARNING if cut else Level.ERROR,
                    "buckets_too_small",
                    f"{len(short)} of {len(found.buckets)} aspect buckets can't fill a batch: {named}{more}. "
                    + (f"Their {images:,} images are left out." if cut else "The trainer refuses to start."),
                    f"Set repeats to {needed} or more, lower the batch to {min(b.images for b in short)}, or crop all "
                    "pictures to one aspect (crop true, crop_aspect square).",
                    images,
                )
            )
    return in_order(findings)


def caption_fit(facts: ReportFacts, model_family: str) -> list[Finding]:
    """What the text encoder of this family cuts off, as a warning with the estimate. Unknown families count as long."""
    captions = facts.captions
    if model_family in _CLIP_FAMILIES:
        limit, over = CLIP_TOKENS, captions.over_clip
    elif model_family in _T5_SHORT_FAMILIES:
        limit, over = T5_SHORT_TOKENS, captions.over_t5_short
    else:
        limit, over = T5_LONG_TOKENS, captions.over_t5_long
    if not over:
        return []
    return [
        _finding(
            Level.WARNING,
            "captions_too_long",
            f"{over:,} captions seem longer than the {limit} tokens that the text encoder of {model_family} takes (the "
            f"longest about {captions.longest_tokens:,}).",
            "Shorten them, or put what matters first: the rest is cut off.",
            over,
        )
    ]


def _finding(level: Level, code: str, message: str, advice: str, count: int) -> Finding:
    return Finding(level=level, code=code, message=message, advice=advice, count=count)
