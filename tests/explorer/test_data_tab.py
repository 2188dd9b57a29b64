"""What the tab of a label set shows, without a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="exploring needs gradio: pip install 'softpoint[explore]'")

from softpoint.audit import audit_labels
from softpoint.explorer.data_tab import AuditedSet, show
from softpoint.labels.load import LabelSource, load_labels
from softpoint.viz import write_image


@pytest.fixture
def data(tmp_path: Path) -> AuditedSet:
    """Six images, of which the third has its tail beyond the image, and the fifth has no nose."""
    lines = ["image,nose_x,nose_y,tail_x,tail_y"]
    rng = np.random.default_rng(0)
    for i in range(6):
        write_image(tmp_path / f"{i}.png", rng.integers(0, 256, (40, 60, 3), np.uint8))
        lines.append(f"{i}.png,{'' if i == 4 else 10 + i},{'' if i == 4 else 12},{200 if i == 2 else 30 + i},{20 + i}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    loaded = load_labels(LabelSource(tmp_path / "labels.csv", cache_dir=tmp_path), audit=True)
    splits = {"train": [0, 1, 2, 3], "val": [4, 5]}
    return AuditedSet(loaded, audit_labels(loaded, splits), splits)


def test_filters_choose_subjects_by_finding_keypoint_and_split(data: AuditedSet) -> None:
    assert data.rows() == [*range(6)] and data.rows(split="val") == [4, 5]
    assert data.rows("nose") == [0, 1, 2, 3, 5] and data.rows("nose", "val") == [5]
    assert data.rows(kind="out_of_frame") == [2] == data.rows("tail", "train", "out_of_frame")
    assert data.rows("nose", kind="out_of_frame") == [] == data.rows(split="val", kind="out_of_frame")


def test_a_subject_is_shown_with_its_labels_and_findings(data: AuditedSet) -> None:
    page = show(data, kind="out_of_frame")
    assert "1 of 1: 2.png" in page and "<td>200.00</td><td>22.00</td><td>visible</td>" in page
    subject, everything = page.split("<h3>All findings</h3>")
    assert "out_of_frame" in subject and "out_of_frame" in everything and 'alt="2.png with 2 labeled' in page
    assert "<td></td><td></td><td>unlabeled</td>" in show(data, split="val") and "2 of 2: 5.png" in show(
        data, split="val", number=9
    )


def test_no_match_and_an_unreadable_image_are_explained(data: AuditedSet) -> None:
    assert 'role="alert"' in show(data, "out_of_frame", "nose")
    (data.loaded.image_folder.folder / "0.png").unlink()
    page = show(data)
    assert 'role="alert"' in page and "does not exist" in page and "1 of 6: 0.png" in page
