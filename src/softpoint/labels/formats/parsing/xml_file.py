"""XML files, which are untrusted: no entities, and one error for whatever the parser refuses."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from softpoint.labels.formats.parsing import json_values
from softpoint.labels.formats.parsing.rows import parse_float

# What precedes the root; possessive, since the ways to take many comments for fewer are endless.
_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?\s*+(?:(?:<\?[^>]*\?>|<!--.*?-->)\s*+)*+", re.DOTALL)


def begins_with(head: bytes, root: bytes) -> bool:
    """Return whether the first tag of a file is `root`, after a declaration, style sheets and comments.

    >>> begins_with(b"<?xml version='1.0'?><!-- a --><!-- b --> <dataset>", b"<dataset>")
    True
    """
    return _PROLOG.sub(b"", head, count=1).startswith(root)


def parse_xml(file: Path) -> Element:
    """Return the root of a file; FileNotFoundError, and a ValueError that names the file for anything else."""
    try:
        content = file.read_bytes()
        plain = content.replace(b"\0", b"")  # of two bytes per letter too
        if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:  # entities can stand for endless text
            raise ValueError("it declares entities, which no label file needs")
        return ElementTree.fromstring(content, ElementTree.XMLParser(encoding=_encoding(content)))
    except FileNotFoundError:
        raise
    except (OSError, LookupError, ValueError, ElementTree.ParseError) as error:
        raise ValueError(f"{file} cannot be read as XML: {error}; export it again") from error


def _encoding(content: bytes) -> str | None:
    """Return UTF-8 for letters that are in it, or None for the encoding that the file declares.

    dlib declares ISO-8859-1, and writes the names of files in what the system has.
    """
    if content.isascii() or b"\0" in content:
        return None
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return "utf-8"


def number_of(element: Element, key: str, default: str = "") -> float:
    """Return a finite number of an element's attribute; ValueError that quotes anything else."""
    try:
        return json_values.as_number(parse_float(element.get(key, default)), key)
    except ValueError as error:
        raise ValueError(f"{key} of {element.tag} is {element.get(key)!r}; it must be a number") from error
