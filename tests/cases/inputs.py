"""Cases of input files: forms that are not read, records that are not what they seem."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.cases.bench import A2L, Bench
from tests.cases.case import Case, Fact, Ran, fact


def both(at: Bench, folder: Path, *sets: str) -> tuple[Ran, Ran, Path]:
    """`validate`, then `curate` into a new folder."""
    run = at.new_folder() / "run"
    config = folder / "curate.yaml"
    validated = at.a2l("validate", config, sets=sets)
    return validated, at.a2l("curate", config, "--run-dir", run, sets=sets), run


def counts(run: Path) -> dict[str, int]:
    """Kept, dropped, quarantined, summed over types; empty without a manifest."""
    path = run / "manifest.json"
    if not path.exists():
        return {}
    found: dict[str, int] = {}
    for kind in json.loads(path.read_bytes())["counts"].values():
        for name, count in kind.items():
            found[name] = found.get(name, 0) + count
    return found


def faults(run: Path) -> list[tuple[str, str]]:
    """Code and message of each quarantined record."""
    lines = [
        json.loads(line)
        for path in sorted((run / "quarantine").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return [(line["code"], line["message"]) for line in lines]


def array_named_jsonl(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, run = both(at, folder)
    yield validated.ends(2)
    yield validated.says("JSON array", "input.format")
    yield curated.ends(2)
    yield fact("nothing is written", holds=not counts(run), seen=counts(run))


def object_with_data(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, _ = both(at, folder)
    yield validated.ends(2)
    yield validated.says("JSON object", "'data'")
    yield validated.never_says("input.format to jsonl")
    yield curated.ends(2)
    utf16 = at.a2l("validate", folder / "curate.yaml", sets=["--set", "input.path=utf16.json"])
    yield utf16.ends(2)
    yield utf16.says("UTF-16")
    nothing = at.new_folder() / "nothing.json"
    nothing.touch()
    empty = at.a2l("validate", folder / "curate.yaml", sets=["--set", f"input.path={nothing}"])
    yield empty.ends(2)
    yield empty.says("empty")


def duplicate_section(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, _ = both(at, folder)
    yield validated.ends(2)
    yield validated.says("selection", "stands in line")
    yield curated.ends(2)


def huge_integer(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, run = both(at, folder)
    yield validated.ends(0, 2, 3)
    if curated.code == 2:
        yield curated.says("byte")
    else:
        yield curated.ends(0, 3)
        found = faults(run)
        yield fact("one record pays", holds=len(found) == 1, seen=found)


def nan_in_record(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, run = both(at, folder)
    yield validated.ends(0, 3)
    yield validated.says("NaN")
    yield curated.ends(0, 3)
    found = faults(run)
    is_named = len(found) == 1 and "NaN" in found[0][1]
    yield fact("the one record with NaN is quarantined", holds=is_named, seen=found)


def image_empty_string(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, run = both(at, folder)
    yield validated.ends(0)
    yield validated.says("text only")
    yield curated.ends(0)
    yield fact("nothing is quarantined", holds=faults(run) == [], seen=counts(run))


def video_key(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, run = both(at, folder)
    yield validated.says("video")
    yield curated.ends(3)
    found = faults(run)
    is_named = len(found) == 5 and all("video" in " ".join(each) for each in found)
    yield fact("5 video records are quarantined by name", holds=is_named, seen=found[:1])
    kept = at.new_folder() / "run"
    sets = ["--set", "input.text_only=keep"]
    at.a2l("curate", folder / "curate.yaml", "--run-dir", kept, sets=sets)
    yield fact("nor kept as text only", holds=len(faults(kept)) == 5, seen=counts(kept))


def token_counts(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, _, run = both(at, folder)
    yield validated.says("no <image>: 1", "several <image>: 1", "<image> and no image: 1")
    exported = run / "dataset" / "train.json"
    text = exported.read_text() if exported.exists() else ""
    leak = '"value": "<image>\\nIt is red."'
    yield fact("no answer goes out with <image>", holds=leak not in text, seen=counts(run))


def gif_named_jpg(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, run = both(at, folder)
    yield validated.ends(0, 3)
    found = faults(run)
    if found:
        is_named = all("GIF" in message for _, message in found)
        yield fact("the format is named", holds=is_named, seen=found[:1])
    else:
        yield curated.ends(0)
        yield fact("all are scored", holds=bool(counts(run)), seen=counts(run))


def unique_types(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, _ = both(at, folder)
    yield validated.ends(0)
    yield validated.says("too small to keep", "20 of 20")
    yield curated.ends(0)
    yield curated.says("too small to keep")


def symlinked_dataset(at: Bench, folder: Path) -> Iterator[Fact]:
    """The folder `coco` is a link, as LLaVA's set-up makes it: a copy may have followed it."""
    mine = at.new_folder() / "data"
    shutil.copytree(folder, mine, copy_function=shutil.copyfile)
    mine.chmod(0o755)
    (mine / "images").chmod(0o755)
    if not (mine / "images" / "coco").is_symlink():
        (mine / "images" / "coco").chmod(0o755)
        shutil.rmtree(mine / "images" / "coco")
        (mine / "images" / "coco").symlink_to(mine / "elsewhere")
    _, refused, run = both(at, mine)
    told = " ".join(message for _, message in faults(run)) + refused.text
    yield fact("the refusal says link", holds="link" in told, seen=faults(run)[:1])
    validated, curated, run = both(at, mine, "--set", f'input.link_roots=["{mine / "elsewhere"}"]')
    yield validated.ends(0)
    yield curated.ends(0)
    yield fact("10 records are kept or dropped", holds=faults(run) == [], seen=counts(run))


def terminal_escapes(at: Bench, folder: Path) -> Iterator[Fact]:
    validated, curated, run = both(at, folder)
    explained = at.run([A2L, "explain", run, "8"], name="explain")
    previewed = at.a2l("preview", folder / "curate.yaml", "-n", "9")
    yield curated.ends(0)
    for ran in (validated, curated, explained, previewed):
        yield ran.never_says("\x1b", "\x07")


def moved_data(at: Bench, folder: Path) -> Iterator[Fact]:
    place = at.new_folder()
    shutil.copytree(folder, place / "data", copy_function=shutil.copyfile)
    (place / "data").chmod(0o755)
    begun = at.a2l("curate", place / "data" / "curate.yaml", "--run-dir", place / "run")
    yield begun.ends(0)
    (place / "data").rename(place / "moved")
    there = place / "moved"
    yield at.a2l(
        "curate", there / "curate.yaml", "--run-dir", place / "run", "--resume", "always"
    ).ends(0)
    moved = ("--input", there / "input.json", "--images-root", there / "images")
    run = place / "run"
    yield at.run([A2L, "select", run, "--answer-keep", "0.5", *moved], name="select").ends(0)
    yield at.run([A2L, "explain", run, "1", *moved], name="explain").ends(0)


CASES = (
    Case(name="array-named-jsonl", look=array_named_jsonl),
    Case(name="duplicate-section", look=duplicate_section),
    Case(name="gif-named-jpg", look=gif_named_jpg),
    Case(name="huge-integer", look=huge_integer),
    Case(name="image-empty-string", look=image_empty_string),
    Case(name="moved-data", look=moved_data),
    Case(name="nan-in-record", look=nan_in_record),
    Case(name="object-with-data", look=object_with_data),
    Case(name="symlinked-dataset", look=symlinked_dataset),
    Case(name="terminal-escapes", look=terminal_escapes),
    Case(name="token-counts", look=token_counts),
    Case(name="unique-types", look=unique_types),
    Case(name="video-key", look=video_key),
)
