"""Downloads that a page offers without a file on the kernel's side."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any


def link(name: str, content: bytes | str, kind: str, text: str) -> str:
    """Returns a link that downloads the content, as HTML.

    Args:
        name: Name of the file.
        content: Content of the file.
        kind: Media type of the content.
        text: Text of the link.
    """
    data = content.encode() if isinstance(content, str) else content
    return (
        f'<a download="{html.escape(name, quote=True)}" '
        f'href="data:{kind};base64,{base64.b64encode(data).decode()}">{html.escape(text)}</a>'
    )


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns rows as comma-separated values."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
