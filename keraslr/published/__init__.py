"""The published comparisons: their settings and figures as data, their runs, and the report.

Each comparison has a data file, which holds every setting and figure, and a module of the same
name, which makes jobs of them and judges their results.
"""

from keraslr._chart_data import LineFigure
from keraslr.jobs._job import Job
from keraslr.published._comparisons import PARTS
from keraslr.published._lenet import Published, collapsed, lenet_schedules, published_figures
from keraslr.published._parts import (
    Findings,
    Line,
    Part,
    Plan,
    Spread,
    Statement,
    Verdict,
)
from keraslr.published._reproduction import (
    Reproduction,
    reproduce,
    reproduction_markdown,
)

__all__ = [
    "PARTS",
    "Findings",
    "Job",
    "Line",
    "LineFigure",
    "Part",
    "Plan",
    "Published",
    "Reproduction",
    "Spread",
    "Statement",
    "Verdict",
    "collapsed",
    "lenet_schedules",
    "published_figures",
    "reproduce",
    "reproduction_markdown",
]
