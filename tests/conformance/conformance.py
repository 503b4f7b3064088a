#!/usr/bin/env python3
"""Does what stands before a registry answer as the registry does? The checks of checks.py, side by side.

    conformance.py registry=http://127.0.0.1:5000 tracker=http://127.0.0.1:5080 node=http://127.0.0.1:5001,pull

Each argument is a column: NAME=URL, with ",pull" where nothing can be pushed. The first is the registry
itself: images are pushed there, everybody is asked for them, and its verdicts are what the others are
held against. Every cell tells the verdict and the statuses of all answers that led to it; redirects are
followed, as image tools do.

Where a column's verdict is not the first one's, it is named: *better* where only the registry fails (no
registry is without its own faults), else *worse*. The exit status is 1 when any is worse.

Debian's python3 and its standard library; nothing else is needed.
"""

import argparse
import http.client
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import checks  # noqa: E402
from client import Client  # noqa: E402
from content import Content  # noqa: E402

NOT_ASKED = "-"


class Column:
    def __init__(self, name, url, pull_only=False):
        self.name, self.url, self.pull_only = name, url, pull_only

    @classmethod
    def parse(cls, text):
        name, _, rest = text.partition("=")
        url, _, kind = rest.partition(",")
        if not url.startswith(("http://", "https://")) or kind not in ("", "pull"):
            raise argparse.ArgumentTypeError(f"{text!r} is no NAME=URL or NAME=URL,pull")
        return cls(name, url, kind == "pull")


def verdict(function, client, repository, content):
    """("pass 200 206", "") or ("FAIL 200", why)."""
    client.statuses.clear()
    try:
        function(client, repository, content)
        word, why = "pass", ""
    except checks.Wrong as wrong:
        word, why = "FAIL", str(wrong)
    except (OSError, ValueError, KeyError, http.client.HTTPException) as problem:
        word, why = "FAIL", f"{type(problem).__name__}: {problem}"[:200]
    return " ".join([word, *map(str, client.statuses)]), why


def run(columns, repository, salt, user=None, ca=None):
    """[(kind, name, [verdict of each column])], [why something failed]."""
    content, rows, notes = Content(salt), [], []
    clients = [Client(c.url, user, ca) for c in columns]
    content.push(clients[0], repository)
    for kind, listed in (("pull", checks.PULL), ("push", checks.PUSH)):
        for name, function in listed:
            cells = []
            for column, client in zip(columns, clients):
                if kind == "push" and column.pull_only:
                    cells.append(NOT_ASKED)
                    continue
                where = repository if kind == "pull" else f"{repository}-{column.name}"
                cell, why = verdict(function, client, where, content)
                cells.append(cell)
                if why:
                    notes.append(f"{column.name}, {kind} {name}: {why}")
            rows.append((kind, name, cells))
    return rows, notes


def differing(rows):
    """([checks where somebody does better than the first column], [where somebody does worse])."""
    better, worse = [], []
    for row in rows:
        first, *others = row[2]
        others = [c for c in others if c not in (NOT_ASKED, first)]
        if any(first.startswith("pass") or not c.startswith("pass") for c in others):
            worse.append(row)
        elif others:
            better.append(row)
    return better, worse


def summary(rows):
    better, worse = differing(rows)
    lines = [f"{len(rows)} checks: the same verdict everywhere on {len(rows) - len(better) - len(worse)}, "
             f"better than the registry's own on {len(better)}, worse on {len(worse)}"]
    lines += [f"  {word}: {kind} {name}" for word, listed in (("better", better), ("worse", worse))
              for kind, name, _ in listed]
    return "\n".join(lines)


def table(columns, rows):
    lines = [["check", *(c.name for c in columns)]]
    lines += [[f"{kind} {name}", *cells] for kind, name, cells in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines.insert(1, ["-" * w for w in widths])
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(line, widths)).rstrip() for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("columns", nargs="+", type=Column.parse, metavar="NAME=URL[,pull]")
    parser.add_argument("--repository", default="conformance/checks")
    parser.add_argument("--user", metavar="NAME:PASSWORD", help="a login, by Basic, for all of them")
    parser.add_argument("--ca", help="a CA's file, beside the system's")
    given = parser.parse_args()
    rows, notes = run(given.columns, given.repository, os.urandom(8).hex(), given.user, given.ca)
    print(table(given.columns, rows))
    print("", *notes, "", summary(rows), sep="\n")
    sys.exit(1 if differing(rows)[1] else 0)


if __name__ == "__main__":
    main()
