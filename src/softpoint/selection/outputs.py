"""The folder of results of chosen images, and that of suspicious labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from softpoint.labels.skeleton import Skeleton
from softpoint.paths import is_new
from softpoint.selection.candidates import Reading
from softpoint.selection.diversity import Choice
from softpoint.selection.judged import Judged
from softpoint.selection.label_errors import Suspicion
from softpoint.selection.lists import write_suggested, write_suspicious
from softpoint.selection.prelabels import Copy, copy_images, write_prelabels
from softpoint.selection.sheets import MAX_TILES, predicted_tile, sheet, suspicious_tile
from softpoint.viz import write_image


def new_folder(output: Path) -> Path:
    """Return a folder; ValueError where it holds anything, which might be a person's labels."""
    if not is_new(output):
        raise ValueError(f"output={output} exists and is not empty, and nothing is overwritten; name a new folder")
    return output


def write_suggestions(
    choices: Sequence[Choice], reading: Reading, output: Path, skeleton: Skeleton, threshold: float, scorer: str
) -> list[str]:
    """Write chosen images, their predictions as labels, a list and a contact sheet; return remarks, the files last."""
    rank = {id(choice.candidate): i for i, choice in enumerate(choices)}
    copies, tiles = dict[int, Copy](), {}
    for copy, pixels in copy_images([choice.candidate for choice in choices], output, reading):
        i = rank[id(copy.candidate)]
        copies[i] = copy
        if i < MAX_TILES:
            tiles[i] = predicted_tile(pixels, copy.candidate.predictions, skeleton)
    ordered = [copies[i] for i in range(len(choices))]
    files, remarks = write_prelabels(ordered, output, skeleton, threshold, scorer)
    write_suggested(output / "suggested.csv", choices, [copy.file for copy in ordered], skeleton)
    titles = [f"{i + 1}. {copies[i].file} {copies[i].candidate.errors.mean():.1f} px" for i in range(len(tiles))]
    write_image(output / "sheet.png", sheet([tiles[i] for i in range(len(tiles))], titles))
    files = ["images/", *files, "suggested.csv", "sheet.png"]
    return [*remarks, f"{len(choices)} images to label in {output}: {', '.join(files)}"]


def write_suspicions(found: Sequence[Suspicion], judged: Judged, output: Path, count: int) -> list[str]:
    """Write the list of suspicious labels and a contact sheet of the first `count`; return the files."""
    write_suspicious(output / "suspicious.csv", judged, found)
    if not found:
        return ["suspicious.csv"]
    names = [f"{i}. {one.kind}: {judged.results.images[one.subject]}" for i, one in enumerate(found[:count], 1)]
    write_image(output / "sheet.png", sheet([suspicious_tile(judged, one) for one in found[:count]], names))
    return ["suspicious.csv", "sheet.png"]
