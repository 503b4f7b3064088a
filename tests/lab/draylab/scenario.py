"""How a test becomes a scenario.

    class Partitions(Scenarios):
        @scenario(racks={"london": 2, "paris": 2}, wan=8)
        def test_two_offices_cut_apart(self, lab):
            \"\"\"What it shows, in a line.\"\"\"
            ...
            lab.measure("noticed after", took, "s", at_most=15)

Each gets a lab of its own, tells its story while it goes, and ends with a table of what it measured
beside what was demanded. When it fails, the logs of all hosts are kept in a folder that is printed.
"""

import functools
import os
import shutil
import sys
import time
import unittest

from dray_e2e.stage import Stage

from . import netns
from .lab import Lab

PREFIX = "dray-lab-"
LOGS = os.environ.get("DRAY_LAB_LOGS", "/tmp/dray-lab-logs")


class Story:
    """What was done and seen, with seconds since the beginning; kept with the logs."""

    def __init__(self):
        self.began = time.monotonic()
        self.lines = []

    def tell(self, text):
        line = f"{time.monotonic() - self.began:7.1f}  {text}"
        self.lines.append(line)
        print(line, flush=True)


class Table:
    """What was measured: rows of (what, value, unit, demanded, kept)."""

    def __init__(self):
        self.rows = []

    def add(self, what, value, unit, at_most, at_least):
        demand, kept = [], True
        if at_most is not None:
            demand.append(f"<= {_text(at_most)}")
            kept = value <= at_most
        if at_least is not None:
            demand.append(f">= {_text(at_least)}")
            kept = kept and value >= at_least
        self.rows.append((what, f"{_text(value)} {unit}".strip(), ", ".join(demand), kept))
        return kept

    def text(self):
        if not self.rows:
            return ""
        wide = max(len(row[0]) for row in self.rows)
        high = max(len(row[1]) for row in self.rows)
        return "\n".join(f"         {what:<{wide}}  {value:>{high}}  {demand}"
                         f"{'' if kept else '   NOT KEPT'}" for what, value, demand, kept in self.rows)


def _text(value):
    return f"{value:.2f}" if isinstance(value, float) else str(value)


class Measured(Lab):
    """The lab as a scenario has it: with a table."""

    def __init__(self, *args, **more):
        self.table = Table()
        super().__init__(*args, **more)

    def measure(self, what, value, unit="", at_most=None, at_least=None):
        """Writes a row; a demand that is not kept fails the scenario, with the row."""
        if not self.table.add(what, value, unit, at_most, at_least):
            raise AssertionError(f"{what}: {_text(value)} {unit}, demanded "
                                 f"{self.table.rows[-1][2]}")


class Scenarios(unittest.TestCase):
    longMessage = True


def scenario(racks, small=False, needs=(), start=True, **options):
    """`racks` and `options` as for Lab; `small`: also part of `make test`; `needs`: what the kernel must
    offer (netns.offers); `start`: all nodes run and know each other when the test begins."""
    def wrap(test):
        @functools.wraps(test)
        def run(self):
            for what in needs:
                if not netns.offers(what):
                    raise unittest.SkipTest(f"this kernel does not offer {what}")
            _play(self, test, Stage(PREFIX), racks, start, options)
        run.small = small
        return run
    return wrap


def name_of(test):
    return test.id().split(".")[-1].removeprefix("test_")


def _play(case, test, stage, racks, start, options):
    story, lab = Story(), None
    try:
        lab = Measured(stage, story, racks, **options)
        if start:
            lab.start().wait_until_all_know_each_other()
        test(case, lab)
        story.tell("the scenario is over")
        lab.finish()
    except unittest.SkipTest:
        raise
    except Exception:
        _keep(name_of(case), story, lab, stage)
        raise
    finally:
        if lab:
            print(lab.table.text(), flush=True)
        stage.close()


def _keep(name, story, lab, stage):
    folder = os.path.join(LOGS, f"{name}-{time.strftime('%H%M%S')}")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "story.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(story.lines) + "\n")
    try:
        if lab:
            lab.keep_logs(folder)
        else:  # it did not even come up
            for entry in os.scandir(stage.path):
                if entry.is_file():
                    shutil.copy(entry.path, folder)
    finally:
        print(f"         the logs of all hosts: {folder}", file=sys.stderr, flush=True)
