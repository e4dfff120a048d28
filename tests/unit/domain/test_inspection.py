"""What the facts of files add up to, and the findings that follow."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from chalicelib.domain.duplicates import Fingerprint, are_near, near_groups
from chalicelib.domain.histograms import MAX_SIZES, classes, coarse
from chalicelib.domain.inspection import Collector, caption_fit, fit
from chalicelib.domain.inspection_facts import CaptionCounts, Counts, FileFacts, Problem, ReportFacts, SizeCount
from chalicelib.domain.inspection_findings import MAX_PATHS, Finding, Level
from chalicelib.domain.inspection_words import PROBLEMS
from chalicelib.domain.media import Kind


def image(path: str, *problems: Problem, **facts: Any) -> FileFacts:
    base: dict[str, Any] = {"size": 10, "sha256": path, "kind": Kind.IMAGE, "width": 1024, "height": 1024}
    return FileFacts(**(base | facts), path=path, problems=problems)


def caption(path: str, text: str = "t", tokens: int = 5, *problems: Problem) -> FileFacts:
    return FileFacts(path=path, size=3, sha256=path, kind=Kind.CAPTION, text=text, tokens=tokens, problems=problems)


def collected(*files: FileFacts) -> Collector:
    collector = Collector()
    for file in files:
        collector.add(file)
    return collector


def by_code(*files: FileFacts) -> dict[str, Finding]:
    return {f.code: f for f in collected(*files).findings()}


def test_a_sound_dataset_has_no_findings() -> None:
    assert by_code(image("a.png"), caption("a.txt", "one"), image("b.png"), caption("b.txt", "two")) == {}


def test_every_problem_has_words_and_its_value_is_the_code() -> None:
    assert set(PROBLEMS) == set(Problem)
    for problem, words in PROBLEMS.items():
        found = by_code(image("a.png", problem), image("b.png", problem), caption("a.txt"), caption("b.txt"))
        assert found[problem.value].level is words.level
        assert "2" in found[problem.value].message
        assert by_code(image("a.png", problem), caption("a.txt"))[problem.value].message.startswith(words.one[:-1])


def test_what_the_sum_is_does_not_depend_on_the_order() -> None:
    files = [image(f"{n}.png", *([Problem.ALPHA] if n % 3 else []), sha256=str(n % 5)) for n in range(100)]
    files += [caption(f"{n}.txt", str(n), n) for n in range(0, 150, 2)]
    one, other = collected(*files), collected(*reversed(files))
    assert one.facts() == other.facts()
    assert one.findings() == other.findings()
    assert one.histograms() == other.histograms()


def test_examples_are_the_first_twenty_paths() -> None:
    files = [image(f"{n:03d}.png", Problem.TRUNCATED) for n in reversed(range(500))]
    finding = by_code(*files)["image_truncated"]
    assert (finding.count, finding.paths) == (500, tuple(f"{n:03d}.png" for n in range(MAX_PATHS)))


def test_errors_come_first() -> None:
    levels = [f.level for f in collected(image("a.png", *Problem)).findings()]
    assert levels == sorted(levels, key=[Level.ERROR, Level.WARNING, Level.NOTE].index)


def test_images_that_are_of_no_use_have_no_size() -> None:
    facts = collected(image("a.png", Problem.TRUNCATED), image("b.png", Problem.ALPHA), image("c.png", width=0)).facts()
    assert facts.sizes == (SizeCount(width=1024, height=1024, images=1),)
    assert (facts.counts.images, facts.usable_images) == (3, 1)


def test_captions_that_are_missing_and_those_without_a_file() -> None:
    found = by_code(image("a.png"), image("b.png"), caption("a.txt"), caption("x.txt", "u"))
    assert found["caption_missing"].paths == ("b.png",)
    assert found["caption_missing"].level is Level.WARNING
    assert found["caption_without_media"].paths == ("x.txt",)
    facts = collected(image("a.png"), image("b.png"), caption("a.txt"), caption("x.txt", "u")).facts()
    assert (facts.captions.missing, facts.captions.orphans, facts.captions.distinct) == (1, 1, 2)


def test_a_caption_named_in_capitals_is_none() -> None:
    found = by_code(image("a.png"), caption("a.TXT"), image("b.png"), caption("b.txt", "u"))
    assert (found["caption_suffix"].level, found["caption_suffix"].paths) == (Level.ERROR, ("a.TXT",))
    assert "leaves 1 image or video without a caption" in found["caption_suffix"].message
    assert found["caption_missing"].paths == ("a.png",)
    # One beside the real one does no harm.
    found = by_code(image("a.png"), caption("a.Txt"), caption("a.txt", "u"))
    assert set(found) == {"caption_suffix"}
    assert found["caption_suffix"].level is Level.WARNING
    facts = collected(image("a.png"), caption("a.Txt"), caption("a.txt", "u")).facts()
    assert (facts.captions.captions, facts.captions.missing) == (1, 0)


def test_pictures_of_the_same_rows_and_other_columns_are_no_copies() -> None:
    rows, columns = 0x5555AAAA5555AAAA, 0x3333CCCC3333CCCC
    one, other = Fingerprint(rows, columns), Fingerprint(rows, columns ^ 0xFFFF)
    assert are_near(one, Fingerprint(rows ^ 0xF, columns ^ 0xF))
    assert not are_near(one, other)
    assert near_groups([one, other]).groups == []


@pytest.mark.parametrize("problem", [Problem.TOO_LARGE, Problem.BIG_FILE, Problem.NOT_INSPECTED])
def test_what_was_not_looked_at_is_a_warning(problem: Problem) -> None:
    assert PROBLEMS[problem].level is Level.WARNING
    # Its size is known from its header, and it is trained.
    assert collected(image("a.png", Problem.TOO_LARGE)).facts().usable_images == 1


def test_no_captions_at_all_is_another_way_to_train() -> None:
    found = by_code(image("a.png"), image("b.png"))
    assert set(found) == {"captions_none"}
    assert found["captions_none"].level is Level.NOTE


def test_audio_needs_no_caption_and_a_caption_may_be_of_audio() -> None:
    song = FileFacts(path="song.flac", size=1, sha256="s", kind=Kind.AUDIO)
    assert by_code(song) == {}
    assert by_code(song, caption("song.txt")) == {}


def test_the_same_caption_everywhere_is_noted() -> None:
    found = by_code(image("a.png"), caption("a.txt"), image("b.png"), caption("b.txt"))
    assert found["captions_identical"].count == 2
    assert "captions_identical" not in by_code(image("a.png"), caption("a.txt"))


def test_long_captions() -> None:
    found = by_code(
        image("a.png"), caption("a.txt", "1", 77), image("b.png"), caption("b.txt", "2", 78), image("c.png"),
        caption("c.txt", "3", 600),
    )  # fmt: skip
    assert (found["caption_over_clip"].level, found["caption_over_clip"].count) == (Level.NOTE, 2)
    assert (found["caption_over_t5"].level, found["caption_over_t5"].paths) == (Level.WARNING, ("c.txt",))
    assert "600" in found["caption_over_t5"].message


def test_groups_of_copies_stand_together() -> None:
    names = {"a.png": "1", "z.png": "1", "b.png": "2", "c.png": "2"}
    found = by_code(*(image(path, sha256=sha256) for path, sha256 in names.items()))["duplicates"]
    assert found.message == "4 images are exact copies of one another (2 groups)."
    assert (found.count, found.paths) == (4, ("a.png", "z.png", "b.png", "c.png"))


def test_copies_and_near_copies_are_told_apart() -> None:
    near = {"rows": 0x5555, "columns": 0x3333}
    found = by_code(
        image("a.png", sha256="1", **near),
        image("copy.png", sha256="1", **near),
        image("b.jpg", sha256="2", rows=0x5554, columns=0x3333),
        image("other.png", sha256="3", rows=0xFFFF0000FFFF, columns=0xF0F0F0F0F0),
    )
    assert (found["duplicates"].count, found["duplicates"].paths) == (2, ("a.png", "copy.png"))
    assert found["duplicates"].message == "2 images are exact copies of one another."
    assert (found["near_duplicates"].count, found["near_duplicates"].paths) == (2, ("a.png", "b.jpg"))


def test_a_dataset_without_media() -> None:
    assert "no_media" in by_code(caption("a.txt"))
    assert "no_media" not in by_code(FileFacts(path="a.parquet", size=1, sha256="x", kind=Kind.METADATA))


def test_details_are_named_once_each() -> None:
    found = by_code(
        image("a.heic", Problem.FORMAT_UNSUPPORTED, detail="heif"),
        image("b.heic", Problem.FORMAT_UNSUPPORTED, detail="heif"),
        image("c.jxl", Problem.FORMAT_UNSUPPORTED, detail="jxl"),
    )
    assert found["image_format_unsupported"].message.endswith("can't read (heif, jxl).")


def test_many_sizes_are_rounded_down_until_they_are_few() -> None:
    many = Counter({(1000 + n, 1000 + n // 3): 2 for n in range(5000)})
    found, exact = coarse(many)
    assert len(found) <= MAX_SIZES
    assert not exact
    assert sum(s.images for s in found) == 10_000
    assert coarse(Counter({(5, 6): 1})) == ((SizeCount(width=5, height=6, images=1),), True)


def test_classes_count_everything_once() -> None:
    assert classes(Counter({1: 1, 10: 2, 11: 4, 99: 8}), (10, 20)) == {"<=10": 3, "<=20": 4, ">20": 8}


# Against a configuration


def facts_of(*sizes: tuple[int, int, int], **captions: int) -> ReportFacts:
    return ReportFacts(
        counts=Counts(),
        captions=CaptionCounts(**captions),
        sizes=tuple(SizeCount(width=w, height=h, images=n) for w, h, n in sizes),
    )


def test_what_fits_has_no_findings() -> None:
    assert fit(facts_of((1024, 1024, 4), (1536, 1024, 4)), resolution=1024, batch_size=4) == []


@pytest.mark.parametrize(("small", "level"), [(1, Level.NOTE), (10, Level.NOTE), (11, Level.WARNING)])
def test_small_images_warn_from_a_tenth_on(small: int, level: Level) -> None:
    (found,) = fit(facts_of((1024, 1024, 100 - small), (512, 512, small)), resolution=1024)
    assert (found.code, found.level, found.count) == ("images_too_small", level, small)


def test_a_bucket_that_fills_no_batch_ends_the_training_before_it_begins() -> None:
    (found,) = fit(
        facts_of((1024, 1024, 10), (1536, 1024, 1)), resolution=1024, batch_size=2, gradient_accumulation_steps=2
    )
    assert (found.code, found.level) == ("buckets_too_small", Level.ERROR)
    assert "1.54 (1 of 4)" in found.message
    assert "repeats to at least 3" in found.advice


def test_repeats_or_a_square_crop_fill_it() -> None:
    facts = facts_of((1024, 1024, 10), (1536, 1024, 1))
    assert fit(facts, resolution=1024, batch_size=4, repeats=3) == []
    assert fit(facts, resolution=1024, batch_size=4, crop=True) == []


def test_with_a_minimum_size_the_trainer_prunes_small_buckets() -> None:
    facts = facts_of((1024, 1024, 10), (1536, 1024, 1))
    (found,) = fit(facts, resolution=1024, batch_size=2, minimum_image_size=256)
    assert (found.level, found.count) == (Level.WARNING, 1)
    (kept,) = fit(facts, resolution=1024, batch_size=2, minimum_image_size=256, bucket_pruning=False)
    assert kept.level is Level.ERROR


def test_pruning_takes_no_bucket_away_that_fills_a_batch_of_one_gpu() -> None:
    facts = facts_of((1024, 1024, 10), (1536, 1024, 3), (1024, 1536, 1))
    config = {"resolution": 1024, "batch_size": 2, "gradient_accumulation_steps": 2, "minimum_image_size": 256}
    refused, pruned = fit(facts, **config)
    assert (refused.level, refused.count, pruned.level, pruned.count) == (Level.ERROR, 3, Level.WARNING, 1)
    assert "1.54 (3 of 4)" in refused.message
    assert refused.message.endswith("The trainer refuses to start.")
    assert pruned.message.endswith("1 image is left out.")
    (nothing,) = fit(facts_of((1024, 1024, 1)), resolution=1024, batch_size=2, minimum_image_size=256)
    assert nothing.level is Level.ERROR
    assert nothing.message.endswith("left out, and none is left.")


def test_a_batch_to_lower_to_is_one_that_can_be_filled() -> None:
    (found,) = fit(facts_of((1024, 1024, 3)), resolution=1024, batch_size=8, repeats=1)
    assert found.message.startswith("1 of 1 aspect buckets can't fill a batch of 8: 1 (6 of 8).")
    assert found.advice == "Set repeats to at least 2 or lower train_batch_size to 6."
    (alone,) = fit(facts_of((1024, 1024, 3)), resolution=1024, gradient_accumulation_steps=4)
    assert alone.advice == "Set repeats to at least 1 or lower gradient_accumulation_steps."


def test_when_all_are_below_the_minimum_nothing_is_left() -> None:
    (found,) = fit(facts_of((256, 256, 3)), resolution=1024, minimum_image_size=512)
    assert (found.code, found.level) == ("images_below_minimum", Level.ERROR)
    assert found.message == (
        "3 of 3 images have fewer pixels in all than 512 × 512 (minimum_image_size 512). Left out, that leaves none."
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"resolution": 512, "resolution_type": "pixel"}, "a side of less than minimum_image_size 300 pixels"),
        ({"resolution": 512, "crop": True}, "a side of less than minimum_image_size 300 pixels"),
        ({"resolution": 512}, "fewer pixels in all than 300 × 300"),
        (
            {"resolution": 0.25, "resolution_type": "area", "minimum_image_size": 0.1},
            "less than minimum_image_size 0.1, megapixels as resolution_type is area",
        ),
    ],
)
def test_what_is_below_the_minimum_is_told_in_the_unit_that_is_compared(settings: dict[str, Any], said: str) -> None:
    found = fit(facts_of((256, 256, 3), (512, 512, 9)), **{"minimum_image_size": 300, **settings})
    below = next(f for f in found if f.code == "images_below_minimum")
    assert said in below.message
    assert below.message.endswith("Left out, that leaves 9.")
    assert below.level is Level.WARNING


def test_small_images_are_told_of_among_those_that_stay() -> None:
    found = fit(facts_of((256, 256, 5), (512, 512, 5)), resolution=1024, minimum_image_size=300)
    small = next(f for f in found if f.code == "images_too_small")
    assert small.message.startswith("5 of 5 images (100%)")
    assert "raise minimum_image_size" in small.advice


def test_a_random_crop_can_not_be_foretold() -> None:
    assert fit(facts_of((1024, 1024, 1)), resolution=1024, batch_size=8, crop=True, crop_aspect="random") == []


@pytest.mark.parametrize(
    "bad",
    [
        {"resolution": 0},
        {"resolution": 1, "batch_size": 0},
        {"resolution": 1, "repeats": -1},
        {"resolution": 1, "resolution_type": "inch"},
        {"resolution": 1, "crop_aspect": "round"},
    ],
)
def test_nonsense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        fit(facts_of((1, 1, 1)), **bad)


@pytest.mark.parametrize(
    ("family", "count"), [("sdxl", 30), ("sd1x", 30), ("sd3", 20), ("flux", 10), ("something-new", 10)]
)
def test_captions_against_the_text_encoder(family: str, count: int) -> None:
    facts = facts_of(over_clip=30, over_t5_short=20, over_t5_long=10, longest_tokens=900)
    (found,) = caption_fit(facts, family)
    assert (found.level, found.count) == (Level.WARNING, count)
    assert "900" in found.message
    assert caption_fit(facts_of(), family) == []


def test_one_is_told_as_one() -> None:
    (long,) = caption_fit(facts_of(over_clip=1, longest_tokens=80), "sdxl")
    assert long.message.startswith("1 caption seems longer than the 77 tokens")
    (small,) = fit(facts_of((1024, 1024, 9), (512, 512, 1)), resolution=1024)
    assert small.message.startswith("1 of 10 images (10%) is smaller than")
    assert small.message.endswith("and is scaled up.")
