"""Whether a version suits a configuration: sizes against the resolution, buckets against the batch, captions against
the text encoder. Pure; what it needs is stored in every report."""

from __future__ import annotations

from chalicelib.domain.aspect import Bucket, CropAspect, ResolutionType, Sizing, Sorted, sort_into_buckets
from chalicelib.domain.captions import CLIP_TOKENS, T5_LONG_TOKENS, T5_SHORT_TOKENS
from chalicelib.domain.inspection_facts import ReportFacts
from chalicelib.domain.inspection_findings import Finding, Level, in_order
from chalicelib.domain.wording import count_text

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
    if resolution_type == ResolutionType.PIXEL and resolution < 1:
        raise ValueError("a resolution of less than one pixel")
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
    kept = found.images - found.left_out
    if found.left_out and minimum_image_size is not None:
        findings.append(
            _finding(
                Level.WARNING if kept else Level.ERROR,
                "images_below_minimum",
                f"{found.left_out:,} of {found.images:,} images {'has' if found.left_out == 1 else 'have'} "
                f"{_below(sizing, minimum_image_size)}. Left out, that leaves {f'{kept:,}' if kept else 'none'}.",
                "Lower minimum_image_size, or add larger pictures.",
                found.left_out,
            )
        )
    if found.upscaled:
        share = found.upscaled / kept
        verb = "is" if found.upscaled == 1 else "are"
        smaller = "Lower the resolution, use larger pictures, or set minimum_image_size to leave small ones out."
        if minimum_image_size is not None:
            smaller = "Lower the resolution, use larger pictures, or raise minimum_image_size to leave small ones out."
        findings.append(
            _finding(
                Level.WARNING if share > SMALL_SHARE else Level.NOTE,
                "images_too_small",
                f"{found.upscaled:,} of {kept:,} images ({share:.0%}) {verb} smaller than what resolution "
                f"{resolution:g} ({sizing.kind.value}) asks for, and {verb} scaled up.",
                smaller,
                found.upscaled,
            )
        )
    if not (crop and sizing.crop_aspect is CropAspect.RANDOM):
        together = gradient_accumulation_steps * gpus
        # With a minimum size SimpleTuner first leaves out what fills no batch of one GPU.
        pruned = bucket_pruning and minimum_image_size is not None
        left_out = [b for b in found.buckets if pruned and b.images * (repeats + 1) < batch_size]
        staying = [b for b in found.buckets if b not in left_out]
        short = [b for b in staying if b.images * (repeats + 1) < batch_size * together]
        if left_out:
            images = sum(b.images for b in left_out)
            then = f"{'1 image is' if images == 1 else f'{images:,} images are'} left out"
            then += "." if staying else ", and none is left."
            level = Level.WARNING if staying else Level.ERROR
            findings.append(_buckets(level, left_out, found, batch_size, repeats, 1, then))
        if short:
            then = "The trainer refuses to start."
            findings.append(_buckets(Level.ERROR, short, found, batch_size, repeats, together, then))
    return in_order(findings)


def _buckets(
    level: Level, short: list[Bucket], found: Sorted, batch: int, repeats: int, together: int, then: str
) -> Finding:
    """``together``: batches that are learned at once, by accumulation and on several GPUs; ``then`` is what becomes of
    it."""
    least = batch * together
    named = ", ".join(f"{b.aspect:g} ({b.images * (repeats + 1)} of {least})" for b in short[:MAX_NAMED])
    more = f" and {len(short) - MAX_NAMED} more" if len(short) > MAX_NAMED else ""
    advice = [f"set repeats to at least {max(b.repeats_for(least) for b in short)}"]
    fitting = min(b.images for b in short) * (repeats + 1) // together
    if fitting:
        advice.append(f"lower train_batch_size to {fitting}")
    elif together > 1:
        advice.append("lower gradient_accumulation_steps")
    if len(found.buckets) > 1:
        advice.append("crop all pictures to one aspect (crop true, crop_aspect square)")
    said = f"{', '.join(advice[:-1])} or {advice[-1]}" if len(advice) > 1 else advice[0]
    return _finding(
        level,
        "buckets_too_small",
        f"{len(short)} of {len(found.buckets)} aspect buckets can't fill a batch of {least}: {named}{more}. " + then,
        f"{said[0].upper()}{said[1:]}.",
        sum(b.images for b in short),
    )


def _below(sizing: Sizing, minimum: float) -> str:
    """What a picture below ``minimum_image_size`` has too little of, in the unit that it is compared in."""
    if sizing.kind is ResolutionType.AREA:
        return f"less than minimum_image_size {minimum:g}, megapixels as resolution_type is area"
    square = f"less than minimum_image_size {minimum:g}"
    if sizing.kind is ResolutionType.PIXEL or (sizing.crop and sizing.crop_aspect is CropAspect.SQUARE):
        return f"a side of {square} pixels"
    return f"fewer pixels in all than {minimum:g} × {minimum:g} (minimum_image_size {minimum:g})"


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
            f"{count_text(over, 'caption seems', 'captions seem')} longer than the {limit} tokens that the text "
            f"encoder of {model_family} takes (the longest about {captions.longest_tokens:,}).",
            "Shorten them, or put what matters first: the rest is cut off.",
            over,
        )
    ]


def _finding(level: Level, code: str, message: str, advice: str, count: int) -> Finding:
    return Finding(level=level, code=code, message=message, advice=advice, count=count)
