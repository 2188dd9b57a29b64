"""Pages of the documentation that are made when it is built: the reference of options, and the notebook."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
NOTEBOOK = ROOT / "examples" / "your_first_model.ipynb"
HIDDEN = ("defaults", "hydra", "datamodule")  # top-level keys that no user sets
_LINE = re.compile(r"^(?P<indent> *)(?P<key>\"?[\w.+-]+\"?):(?: +(?P<value>.*?))??(?: +# ?(?P<comment>.*))?$")


class Option(NamedTuple):
    """One key of a YAML file: its dotted path, the default as written, and the comment beside it."""

    key: str
    value: str
    meaning: str


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of mkdocs."""
    files.append(File.generated(config, "options.md", content=options_page()))
    if NOTEBOOK.is_file():
        text, images = notebook_page(NOTEBOOK)
        files.append(File.generated(config, "first_model.md", content=text))
        for name, content in images.items():
            files.append(File.generated(config, name, content=content))
    return files


def options_page() -> str:
    """Return the reference of all options as Markdown, from the comments of the YAML files."""
    lines = [
        "# Options",
        "",
        "Every option of every command, with its default, from the YAML files of `configs/`. Set a key as `KEY=VALUE`,"
        " choose an option of a group as `GROUP=OPTION`. `softpoint COMMAND --help` prints the composed config.",
        "",
    ]
    for path in sorted(CONFIGS.glob("*.yaml")):
        lines += [f"## softpoint {path.stem}", "", *section(path, "")]
    for group in sorted(
        path for path in CONFIGS.iterdir() if path.is_dir() and path.name not in ("hydra", "fetch", "weights")
    ):
        lines += [f"## {group.name}=", ""]
        for path in sorted(group.glob("*.yaml")):
            lines += [f"### {group.name}={path.stem}", "", *section(path, group.name)]
    return "\n".join(lines)


def section(path: Path, group: str) -> list[str]:
    """Return the introduction of a YAML file and the table of its options as lines of Markdown."""
    text = path.read_text(encoding="utf-8")
    head = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#") and "@package" not in line]
    rows = list(options(text, "" if "@package _global_" in text else group))
    lines = [" ".join(head), ""] if head else []
    if rows:
        cells = [(f"`{row.key}`", f"`{row.value}`" if row.value else "", row.meaning) for row in rows]
        table = [("Key", "Default", "Meaning"), ("---", "---", "---"), *cells]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]
        lines.append("")
    return lines


def options(text: str, prefix: str) -> Iterator[Option]:
    """Yield the keys of a YAML file, `prefix` before each, but those that only repeat another key, as ${KEY}."""
    parents: list[tuple[int, str]] = []
    found: list[Option] = []
    names: list[str] = []
    for line in text.splitlines():
        if found and re.match(r"^ {10,}# ", line):  # a comment that goes on below its key
            last = found.pop()
            found.append(last._replace(meaning=f"{last.meaning} {line.strip('# ')}"))
        if line.lstrip().startswith("- ") and parents and ".".join(names) not in {option.key for option in found}:
            found.append(Option(".".join(names), "[...]", ""))  # a list in lines of its own
        if not (match := _LINE.match(line)):
            continue
        while parents and parents[-1][0] >= len(match["indent"]):
            parents.pop()
        parents.append((len(match["indent"]), match["key"]))
        value, meaning = match["value"] or "", match["comment"] or ""
        names = [*([prefix] if prefix else []), *(key.strip('"') for _, key in parents)]
        if parents[0][1] not in HIDDEN and names[-1] != "_partial_" and (meaning or (value and value[:2] != "${")):
            found.append(Option(".".join(names), value, meaning))
    yield from found


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return an executed notebook as Markdown, and its images by their names."""
    lines: list[str] = []
    images: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        lines += [source, ""] if cell["cell_type"] == "markdown" else ["```python", source, "```", ""]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if image := next((key for key in data if key.startswith("image/")), None):
                name = f"first_model_{len(images)}.{image.removeprefix('image/')}"
                images[name] = base64.b64decode(data[image])
                lines += [f"![output]({name})", ""]
            elif text := "".join(output.get("text", data.get("text/plain", ""))).strip():
                lines += ["```text", text, "```", ""]
    return "\n".join(lines), images
