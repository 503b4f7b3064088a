#!/usr/bin/python3
"""bench.py - dray-node side by side with what one would take instead, on this machine, in one run.

    bench.py --node build/release/dray-node --load build/release/dray-load --out docs/benchmarks.md

Rows are in rows.py, contenders and their settings in servers.py, statistics in measure.py, the text in
report.py. Raw samples go to --json. Only a whole run replaces --out: with --only or --quick the tables
are printed instead. Exit: 0 when everything was measured, whether goals are met or not; 1 when a
contender failed; 2 when the machine or the command line does not allow a run.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True

import measure  # noqa: E402
import redirects  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import servers  # noqa: E402

NEEDED = {"nginx": "nginx-light", "varnishd": "varnish", "docker-registry": "docker-registry",
          "curl": "curl", "sha256sum": "coreutils"}
FREE_BYTES = 24 << 30


def refuse(text):
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(2)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--node", help="dray-node; without it only the rivals are measured")
    p.add_argument("--load", required=True, help="dray-load")
    p.add_argument("--fill", help="dray-fill-store; default: beside dray-load")
    p.add_argument("--tracker", help="dray-tracker; default: beside dray-node")
    p.add_argument("--crowd", help="dray-crowd; default: beside dray-load")
    p.add_argument("--out", help="where the document goes")
    p.add_argument("--json", default="build/bench.json", help="raw samples (default %(default)s)")
    p.add_argument("--only", action="append", choices=list(rows.ROWS), metavar="ROW",
                   help=f"this row; may be repeated: {', '.join(rows.ROWS)}")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--quick", action="store_true", help="tiny sizes: does it all work?")
    p.add_argument("--dir", default=tempfile.gettempdir(),
                   help="stores and caches go into a folder made here (default %(default)s)")
    a = p.parse_args()
    if a.rounds < 1:
        p.error("--rounds: at least 1")
    if not (a.quick or a.only) and a.rounds < 5:
        p.error("--rounds: a whole run has at least 5")
    return a


def prepare(a):
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted({package for program, package in NEEDED.items()
                      if not shutil.which(program)})
    if missing:
        refuse(f"missing: apt-get install --no-install-recommends {' '.join(missing)}")
    a.load = os.path.abspath(a.load)
    a.fill = os.path.abspath(a.fill or os.path.join(os.path.dirname(a.load), "dray-fill-store"))
    a.node = os.path.abspath(a.node) if a.node else None
    a.crowd = os.path.abspath(a.crowd or os.path.join(os.path.dirname(a.load), "dray-crowd"))
    if a.node:
        a.tracker = os.path.abspath(
            a.tracker or os.path.join(os.path.dirname(a.node), "dray-tracker"))
    for program in [a.load] + ([a.node, a.fill, a.tracker, a.crowd] if a.node else []):
        if not os.access(program, os.X_OK):
            refuse(f"{program} is not there: build it first")
    if not a.quick and shutil.disk_usage(a.dir).free < FREE_BYTES:
        refuse(f"{a.dir}: less than {FREE_BYTES >> 30} GiB free; name another place with --dir")
    measure.Tools.load, measure.Tools.fill = a.load, a.fill
    servers.Dray.node = a.node
    redirects.Tracker.node, redirects.Tracker.program = a.node, a.tracker
    redirects.Crowd.program = a.crowd


def write_file(path, text):
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with open(path + ".new", "w") as f:
        f.write(text)
    os.replace(path + ".new", path)


def main():
    a = arguments()
    prepare(a)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # runs every __exit__ on the way
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    sizes = rows.QUICK if a.quick else rows.FULL
    command = "make bench" if not (a.quick or a.only) else "tests/bench/bench.py (a partial run)"
    about = report.machine(a.dir, a.node, os.path.dirname(os.path.abspath(__file__)))
    done = []
    for key in rows.ROWS:
        if a.only and key not in a.only:
            continue
        rows.progress(f"{key}:")
        with servers.Site(a.dir) as site:
            done.append(rows.ROWS[key](rows.Run(site, sizes, a.rounds, bool(a.node))))
        write_file(a.json, report.as_json(done, about, command, a.rounds, a.quick))
    text = report.markdown(done, about, command, a.rounds, a.quick)
    if a.out and not (a.quick or a.only):
        write_file(a.out, text)
        rows.progress(f"written: {a.out}, {a.json}")
    print(text)
    return 1 if any(row.errors for row in done) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.BenchError as e:
        print(f"bench: {e}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
