"""The package as its users get it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import Program

ROOT = Path(__file__).resolve().parent.parent


def run(*command: object, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=900, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


# pip takes four times as long for TensorFlow.
UV = sys.executable, "-m", "uv"


def can_install() -> bool:
    """Whether there are packages to be had."""
    probe = [*UV, "pip", "compile", "--quiet", "-"]
    try:
        done = subprocess.run(probe, input=b"pip", capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@pytest.mark.slow
def test_a_wheel_from_a_clean_clone_works_in_an_empty_environment(tmp_path):
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    if not can_install():
        pytest.skip("no packages can be reached here")
    clone, wheels, home = tmp_path / "clone", tmp_path / "wheels", tmp_path / "venv"
    run("git", "clone", "--quiet", ROOT, clone)
    run(*UV, "build", "--quiet", "--wheel", "--out-dir", wheels, clone)
    (wheel,) = wheels.glob("*.whl")
    run(*UV, "venv", "--quiet", "--python", sys.executable, home)
    python = home / "bin" / "python"
    run(*UV, "pip", "install", "--quiet", "--python", python, wheel)
    # From a folder where only the installed package can be found.
    elsewhere = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": ""}}
    picture = tmp_path / "curve.png"
    run(home / "bin" / "keraslr", "plot", "cosine annealing", "--T-max", "20", "--output", picture,
        **elsewhere)  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")
    program = (
        "import keras, keraslr, keraslr.published, widgets\n"
        "from keraslr.cli import main\n"
        "assert 'venv' in keraslr.__file__, keraslr.__file__\n"
        "assert len(keraslr.published.PARTS) == 6\n"
        "keras.optimizers.SGD(keraslr.StepLR(0.1, step_size=2))\n"
        "print(keraslr.StepLR(0.1, step_size=2).values(3))\n"
        "main(['list'])\n"
    )
    said = run(python, "-c", program, **elsewhere)
    assert "0.01" in said
    assert "CosineAnnealingLR" in said
    assert flagged(python, tmp_path) == {
        number: line.rpartition("# ")[2]
        for number, line in enumerate(TYPED.splitlines(), 1)
        if "# " in line
    }


# A user's file, and what a type checker has to say of its wrong lines.
TYPED = """
import keraslr
from keraslr import CosineAnnealingLR, MultiStepLR, Schedule, StepLR
from keraslr.training import Run
from widgets import SchedulePanel

cosine: Schedule = CosineAnnealingLR(0.1, T_max=20, eta_min=0.001)
joined: Schedule = cosine.with_warmup(5).then(StepLR(1, step_size=3), at=30)
several = keraslr.SequentialLR([MultiStepLR(0.1, [30, 60]), joined], milestones=(90,))
rate: float = (2 * several).per_epoch(10, smooth=True).values(3)[0]
panel = SchedulePanel("cosine annealing")
run = Run("mine", keraslr.InterpolatedLR([0, 10], [0.1, 0.0], "cosine"), dataset="digits")
line: str = keraslr.snippets.keras_line(joined)

CosineAnnealingLR(0.1, t_max=20)  # call-arg
CosineAnnealingLR(0.1)  # call-arg
CosineAnnealingLR("0.1", T_max=20)  # arg-type
MultiStepLR(0.1, milestones=30)  # arg-type
cosine.with_warmup(steps="five")  # arg-type
Run("mine", 0.1, epoch=3)  # call-arg
keraslr.check(joined)  # call-arg
StepLR(0.1, step_size=3).step_size = 4  # misc
keraslr.snipets  # attr-defined
"""


def flagged(python, folder):
    """The lines that mypy flags in a user's file beside the installed package, with its codes."""
    (folder / "user.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--python-executable", python]
    done = subprocess.run(
        [*map(str, command), "user.py"], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    found = re.findall(r"^user\.py:(\d+): error: .*  \[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    assert len(found) == done.stdout.count("error: "), done.stdout
    return {int(number): code for number, code in found}


@pytest.mark.slow
def test_the_readmes_code_runs_as_printed(tmp_path, fashion_mnist_folder):
    """All of it in one program, from top to bottom; only the epochs are fewer."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 3
    code = re.sub(r"\bepochs=20\b", "epochs=2", "\n".join(blocks))
    said = Program("-c", f"import os\nos.chdir({str(tmp_path)!r})\n{code}").finished()
    assert "the schedule fits the run" in said
    assert "valley: 0." in said
    assert (tmp_path / "range.png").exists()


def test_python_versions_are_told_apart(tmp_path):
    """`make` refuses a Python that the package does not support, and says which it wants."""
    old = tmp_path / "python"
    old.write_text(
        "#!/bin/sh\n"
        f'exec {sys.executable} -c "import sys; sys.version_info = (3, 9, 0); exec(sys.argv[1])" '
        '"$2"\n'
    )
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        ["make", "run", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "needs Python 3.10 to 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_conda_environment_is_one_that_the_package_supports():
    """conda's packages are the interpreter and tools; the rest is pip's, as everywhere."""
    import yaml
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    text = (ROOT / "pyproject.toml").read_text()
    supported = SpecifierSet(re.search(r'^requires-python = "(.*)"$', text, re.MULTILINE)[1])
    extras = set(re.findall(r"^(\w+) = \[", text.partition("optional-dependencies]")[2], re.M))
    *tools, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(each for each in tools if each.startswith("python="))
    assert supported.contains(python.removeprefix("python="))
    assert {"pip", "make", "git"} < set(tools)
    (line,) = pip["pip"]
    assert line.startswith("--editable .[")
    wanted = Requirement("keraslr" + line.removeprefix("--editable ."))
    assert wanted.extras
    assert wanted.extras <= extras


def test_data_are_not_committed():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    files = run("git", "-C", ROOT, "ls-files").split()
    assert not [name for name in files if "ubyte" in name or name.endswith(".dat")]
