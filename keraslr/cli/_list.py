"""`keraslr list`: the catalog as a table."""

from __future__ import annotations

from rich.table import Table

from keraslr._tables import new_table
from keraslr.catalog import CATALOG


def catalog_table() -> Table:
    """The catalog: name, class, parameters with their defaults, when to use it."""
    table = new_table()
    for heading in ("strategy", "class", "parameters", "good for", "beware"):
        table.add_column(heading, overflow="fold")
    for each in CATALOG.values():
        defaults = [_shown(name, value.default) for name, value in each.values.items()]
        table.add_row(each.name, each.cls.__name__, ", ".join(defaults), each.good, each.bad)
        table.add_section()
    return table


def _shown(name: str, default: object) -> str:
    shown = repr(default)
    return f"{name}={shown if len(shown) <= 40 else '...'}"
