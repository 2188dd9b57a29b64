"""Write labels in another format: softpoint convert labels=FILE to=coco output=FILE"""

from __future__ import annotations

from omegaconf import DictConfig

from softpoint.suggest import check_choice


def main(cfg: DictConfig) -> None:
    """Read any format that training reads, write another one, and print what was read and written."""
    from pathlib import Path

    from softpoint.cli.run_folder import lock_file
    from softpoint.images import ImageFolder
    from softpoint.images.read_options import ReadOptions
    from softpoint.labels.convert import check_splits_path, left_out, summary, write_labels, written_lines
    from softpoint.labels.formats import WRITERS, recognize
    from softpoint.labels.label_sets import as_paths, read_sets, source_name
    from softpoint.labels.row_errors import RowErrors
    from softpoint.labels.validate import with_found_names

    if cfg.to not in WRITERS:
        raise ValueError(f"to={cfg.to} is not a format to write; choose from {', '.join(WRITERS)}")
    output = Path(cfg.output)
    if output.is_dir():
        raise ValueError(f"output={output} is a folder; name a file in it")
    lock_file(output)
    if output.exists() and not cfg.overwrite:
        raise ValueError(f"output={output} exists; name another file, or set overwrite=true")
    check_choice("skeleton", cfg.skeleton, ("same", "union"))
    errors = RowErrors(source_name(cfg.labels), cfg.on_error)
    labels = read_sets(cfg.labels, cfg.format, cfg.images, None, errors, cfg.missing, None, cfg.skeleton)
    if not cfg.overwrite:
        check_splits_path(labels, output, "name another output, or set overwrite=true")
    formats = ", ".join(dict.fromkeys(cfg.format or recognize(path) for path in as_paths(cfg.labels)))
    print(f"read {source_name(cfg.labels)} ({formats}): {summary(labels)}")
    image_folder = ImageFolder(Path(labels.folder), ReadOptions(cfg.exif, cfg.max_pixels))
    labels = with_found_names(labels, image_folder)
    written = write_labels(labels, cfg.to, output, image_folder, errors)
    print(*written_lines(written, cfg.to, output), sep="\n")
    if lost := left_out(written):
        print(f"left out {', '.join(lost)}")
