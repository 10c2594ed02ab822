"""Files that the page offers for download, without a file on the kernel's side."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any


def link(name: str, content: bytes | str, kind: str, text: str) -> str:
    """HTML of a link that downloads the content.

    Args:
        name: Name of the file.
        content: What is in it.
        kind: Its media type.
        text: What the link says.
    """
    data = content.encode() if isinstance(content, str) else content
    return (
        f'<a download="{html.escape(name, quote=True)}" '
        f'href="data:{kind};base64,{base64.b64encode(data).decode()}">{html.escape(text)}</a>'
    )


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as comma-separated values."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
