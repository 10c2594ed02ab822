"""The order of the house: imports go one way, from each floor to those below it."""

from __future__ import annotations

import textwrap

import pytest
from floors import FLOORS, ROOT, circles, files, floor_of, imports, table

MODULES = files()
IMPORTS = imports(MODULES)


def test_no_files_import_one_another_in_a_circle():
    assert circles(IMPORTS) == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_nothing_from_a_floor_above(module):
    own = floor_of(module)
    assert own is not None, f"{module} is on no floor of tests/tools/floors.py"
    above = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {other}"
        for other, line in IMPORTS[module].items()
        if floor_of(other) > own
    ]
    assert above == []


def test_every_room_exists_and_is_on_one_floor():
    rooms = [room for floor in FLOORS for room in floor.rooms]
    assert len(set(rooms)) == len(rooms)
    assert [room for room in rooms if room not in MODULES] == []


def test_contributing_shows_the_floors():
    """`python tests/tools/floors.py` prints the table that belongs there."""
    assert table() in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


# The test itself.


@pytest.fixture
def house(tmp_path):
    """Writes files and returns who imports whom among them."""

    def build(**sources):
        for name, source in sources.items():
            path = tmp_path.joinpath("keraslr", *name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
        for folder in {path.parent for path in tmp_path.rglob("*.py")}:
            folder.joinpath("__init__.py").touch()
        modules = files(tmp_path, ["keraslr"])
        return {module: set(found) for module, found in imports(modules).items()}

    return build


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import keraslr.b", {"keraslr.b"}),
        ("import keraslr.b as b, os", {"keraslr.b"}),
        ("from keraslr import b", {"keraslr.b"}),
        ("from keraslr import StepLR", {"keraslr"}),
        ("from keraslr.pack import x, y", {"keraslr.pack", "keraslr.pack.x"}),
        ("from keraslr.pack.x import anything", {"keraslr.pack.x"}),
        ("from . import b", {"keraslr.b"}),
        ("from .pack import x", {"keraslr.pack.x"}),
        ("def use():\n    from keraslr.b import c", {"keraslr.b"}),
        ("if TYPE_CHECKING:\n    from keraslr.b import c", {"keraslr.b"}),
        ("import numpy\nfrom keras import b", set()),
    ],
)
def test_every_way_to_import_is_seen(house, source, found):
    assert house(a=source, b="", pack__x="")["keraslr.a"] == found


def test_a_package_within_sees_where_its_relative_imports_lead(house):
    found = house(pack__a="from .. import b\nfrom ..b import c\nfrom . import x", b="", pack__x="")
    assert found["keraslr.pack.a"] == {"keraslr.b", "keraslr.pack.x"}


def test_circles_are_found_also_through_others_and_through_a_package(house):
    found = house(
        a="def use():\n    from keraslr import b",
        b="from keraslr import c",
        c="from keraslr.a import x",
        d="from keraslr.c import x",
    )
    assert circles(found) == [["keraslr.a", "keraslr.b", "keraslr.c"]]
    package = {"p": {"p.a"}, "p.a": {"p"}, "p.b": {"p"}}
    assert circles(package) == [["p", "p.a"]]


def test_a_module_is_on_the_floor_of_its_package():
    assert FLOORS[floor_of("keraslr.schedules._cosine")].rooms == ("keraslr.schedules",)
    assert "keraslr" in FLOORS[floor_of("keraslr")].rooms
    assert floor_of("keraslr.unknown") is None
    assert floor_of("keraslr._unknown") is None
