"""Runs the published comparisons again: missing jobs are run, finished ones are kept."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from keraslr import datasets
from keraslr._environment import require_tensorflow, versions
from keraslr._files import with_null, write_whole
from keraslr._parameters import Flag, Number, Optional
from keraslr._tables import text
from keraslr.jobs._dispatch import Meter, dispatch
from keraslr.jobs._job import Job, Outcome
from keraslr.jobs._store import Store
from keraslr.published._comparisons import PARTS
from keraslr.published._parts import Findings, Part, Plan, Verdict
from keraslr.published._report import findings_markdown, reproduction_tables, save_report


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """The result of `reproduce`.

    Attributes:
        plan: Requested extent.
        findings: Findings by part.
        jobs, done: Number of jobs, and of jobs with a result.
        failures: Errors by job.
        seconds: Wall time of this call.
        job_seconds: Wall time of all jobs together, including those of earlier calls.
        interrupted: Whether the call was stopped before its end.
        machine: Date, versions, processor cores.
    """

    plan: Plan
    findings: Mapping[str, Findings]
    jobs: int
    done: int
    failures: Mapping[str, str]
    seconds: float
    job_seconds: float
    interrupted: bool
    machine: Mapping[str, Any]

    def counts(self) -> dict[str, int]:
        """Returns the number of figures with each verdict."""
        verdicts = [line.verdict for part in self.findings.values() for line in part.lines]
        return {verdict.value: verdicts.count(verdict) for verdict in Verdict}

    def to_json(self) -> str:
        """Returns everything except the points of the pictures, as strict JSON."""
        parts = {}
        for name, found in self.findings.items():
            plain = dataclasses.asdict(found)
            plain["pictures"] = [picture.title for picture in found.pictures]
            plain["lines"] = [
                {**dataclasses.asdict(line), "verdict": line.verdict.value} for line in found.lines
            ]
            parts[name] = plain
        whole = {
            "machine": dict(self.machine), "plan": dataclasses.asdict(self.plan),
            "seconds": self.seconds, "job_seconds": self.job_seconds,
            "jobs": self.jobs, "done": self.done, "failures": dict(self.failures),
            "interrupted": self.interrupted, "counts": self.counts(), "parts": parts,
        }  # fmt: skip
        return json.dumps(with_null(whole), indent=1, allow_nan=False)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `results.json`, `report.html`, `table.md` and the pictures of the findings.

        Raises:
            OSError: The folder cannot be written; the error names the path.
        """
        write_whole(Path(folder) / "results.json", self.to_json())
        save_report(
            self.findings, folder, counts=self.counts(), machine=self.machine_line,
            notes=self._notes(),
        )  # fmt: skip

    @property
    def machine_line(self) -> str:
        """Date, machine and versions of the run, in a line."""
        machine = self.machine
        return (
            f"{machine['date']}, {machine['cores']} cores ({machine['processor']}), Python "
            f"{machine['python']}, TensorFlow {machine['tensorflow']}, Keras {machine['keras']}, "
            f"keraslr {machine['keraslr']}. {self.done} of {self.jobs} jobs, "
            f"{self.job_seconds / 60:.1f} minutes of one core together."
        )

    def _notes(self) -> list[str]:
        notes = []
        if self.plan.quick:
            notes.append("A quick run: what takes long is left out, and each part says what.")
        if self.interrupted:
            notes.append("Interrupted: start the same command again to do the missing runs.")
        notes += [f"{name} failed: {error}" for name, error in self.failures.items()]
        return notes

    def __str__(self) -> str:
        return "\n".join(text(table) for table in reproduction_tables(self.findings))

    __repr__ = __str__


def reproduction_markdown(reproduction: Reproduction) -> str:
    """Returns the tables and claims as Markdown."""
    return findings_markdown(reproduction.findings)


def reproduce(
    *,
    quick: bool = False,
    only: Sequence[str] | None = None,
    seeds: int | None = None,
    output: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    dataset: str = "auto",
    on_progress: Callable[[float, float, Job | None], None] | None = None,
) -> Reproduction:
    """Runs the published comparisons again, with Keras's optimizers and this package's schedules.

    With `output`, each result is written there at once and whole, and a second call runs only the
    missing jobs. Ctrl-C ends the call early: finished jobs are kept and reported.

    Args:
        quick: Whether to leave out long runs; the findings say which.
        only: Names of parts; all parts by default.
        seeds: Number of seeds of each random comparison; its own default if left out.
        output: Folder for the results; made if it is missing.
        executor: Executor that runs the jobs; by default they run here, one after another.
        dataset: "auto", "fashion_mnist" or "digits"; with "digits" nothing is compared.
        on_progress: Called at the beginning and as each job ends, with the cost done, the total
            cost, both in estimated seconds, and the job, which is None at the beginning.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.
        DatasetError: Fashion-MNIST is damaged.
        OSError: The folder cannot be written; the error names the path.
        RuntimeError: Keras runs on another backend than TensorFlow.
    """
    require_tensorflow("the reproduction")
    quick = Flag("").validated("quick", quick)
    seeds = Optional(Number("", int, at_least=1)).validated("seeds", seeds)
    unknown = sorted(set(only or ()) - set(PARTS))
    if unknown or (only is not None and not only):
        raise ValueError(f"only must hold names of {', '.join(PARTS)}. Received: only={only!r}")
    if dataset not in datasets.NAMES:
        raise ValueError(
            f"dataset must be one of {', '.join(datasets.NAMES)}. Received: dataset={dataset!r}"
        )
    begin = time.perf_counter()
    parts = [part for part in PARTS.values() if only is None or part.name in only]
    images = datasets.load(dataset).name if any(part.images for part in parts) else ""
    plan = Plan(quick, seeds, images, images not in ("", "fashion_mnist"))
    jobs = [job for part in parts for job in part.jobs(plan)]
    store = None if output is None else Store.below(output, _encoded, _decoded)
    results: dict[str, Outcome] = {}
    if store is not None:
        results = {job.file: kept for job in jobs if (kept := store.read(job)) is not None}
    missing = [job for job in jobs if job.file not in results]
    failures: dict[str, str] = {}
    interrupted = False

    def tell(job: Job | None, _: float, done: float, total: float) -> None:
        if on_progress is not None:
            on_progress(done, total, job)

    meter = Meter(missing, tell)
    # One thread for each job elsewhere: jobs do not compete for cores, and sums keep their order.
    ended = dispatch(missing, executor=executor, threads=1, store=store)
    try:
        tell(None, 0.0, 0.0, meter.total)
        with contextlib.closing(ended):
            for job, outcome in ended:
                if isinstance(outcome, Exception):
                    failures[f"{job.part}, {job.name}"] = f"{type(outcome).__name__}: {outcome}"
                else:
                    results[job.file] = outcome
                meter.ended(job)
    except KeyboardInterrupt:
        interrupted = True
    found = {part.name: _found(part, plan, jobs, results) for part in parts}
    return Reproduction(
        plan=plan,
        findings=found,
        jobs=len(jobs),
        done=len({job.file for job in jobs} & set(results)),
        failures=failures,
        seconds=round(time.perf_counter() - begin, 1),
        job_seconds=round(sum(each.seconds for each in results.values()), 1),
        interrupted=interrupted,
        machine=_machine(),
    )


def _found(part: Part, plan: Plan, jobs: Sequence[Job], results: Mapping[str, Outcome]) -> Findings:
    own = [job for job in jobs if job.part == part.name]
    pairs = [(job, results[job.file].result) for job in own if job.file in results]
    if own and not pairs:
        return Findings("", left_out="Nothing of it has been run yet.")
    found = part.findings(plan, pairs)
    if len(pairs) < len(own):
        some = f"{len(own) - len(pairs)} of {len(own)} runs are still to be done."
        found = dataclasses.replace(found, left_out=f"{found.left_out} {some}".strip())
    return found


def _encoded(job: Job, outcome: Outcome) -> str:
    whole = {"part": job.part, "name": job.name, "seed": job.seed, "arguments": dict(job.arguments),
             "seconds": outcome.seconds, "result": outcome.result}  # fmt: skip
    # NaN and infinities in the form of Python's JSON, since nothing else reads this file.
    return json.dumps(whole)


def _decoded(text: str) -> Outcome:
    kept = json.loads(text)
    return Outcome(dict(kept["result"]), float(kept["seconds"]))


def _machine() -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        **versions(),
    }
