"""make lab: plays scenarios of whole regions in network namespaces, one after the other.

    run.py --node build/release/dray-node            all
    run.py --node ... crash_is_noticed_by_all        some, by name, or by a part of their names
    run.py --list                                    what there is
    run.py --small                                   what `make test` plays

Exit status: 0 passed, 1 something failed, 77 this machine does not permit it. Logs of what failed
are kept under --logs.
"""

import argparse
import os
import shutil
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
sys.dont_write_bytecode = True

from dray_e2e import node as nodes  # noqa: E402
from draylab import netns, scenario  # noqa: E402

SKIPPED = 77


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", nargs="*", help="names, or parts of names; none: all")
    parser.add_argument("--node", default=nodes.PROGRAM or "build/release/dray-node",
                        help="the program dray-node")
    parser.add_argument("--next", help="a dray-node of the next wire version, to upgrade to")
    parser.add_argument("--small", action="store_true", help="only the small ones")
    parser.add_argument("--list", action="store_true", help="names and what they show")
    parser.add_argument("--logs", default=scenario.LOGS, help="where logs of failures are kept")
    return parser.parse_args(argv)


def all_scenarios():
    def flat(suite):
        for item in suite:
            if isinstance(item, unittest.TestSuite):
                yield from flat(item)
            else:
                yield item
    return list(flat(unittest.defaultTestLoader.discover(HERE, "test_*.py")))


def chosen(options):
    found = {scenario.name_of(t): t for t in all_scenarios() if not options.small or _small(t)}
    if not options.scenario:
        return list(found.values())

    def is_meant(name):
        return any(word == name or (word in name and word not in found) for word in options.scenario)
    return [t for name, t in found.items() if is_meant(name)]


def _small(test):
    return getattr(getattr(test, test._testMethodName), "small", False)


def reason_not_to():
    for program, package in (("docker-registry", "docker-registry"), ("skopeo", "skopeo")):
        if not shutil.which(program):
            return f"{program} is not installed ({package})"
    return netns.refusal()


def play(test, number, count):
    """(result, seconds): "passed", "FAILED", or "skipped: why"."""
    print(f"\n=== {number}/{count} {scenario.name_of(test)}: {test.shortDescription() or ''}", flush=True)
    result, started = unittest.TestResult(), time.monotonic()
    test.run(result)
    took = time.monotonic() - started
    for _, trace in result.failures + result.errors:
        print(trace, file=sys.stderr, flush=True)
    if result.skipped:
        why = result.skipped[0][1]
        print(f"SKIPPED lab.{scenario.name_of(test)}: {why}", flush=True)
        return f"skipped: {why}", took
    return ("passed" if result.wasSuccessful() else "FAILED"), took


def summary(rows):
    print("\n=== the lab")
    wide = max(len(name) for name, _, _ in rows)
    for name, result, took in rows:
        print(f"  {name:<{wide}}  {took:6.1f} s  {result}")
    failed = sum(1 for _, result, _ in rows if result == "FAILED")
    skipped = sum(1 for _, result, _ in rows if result.startswith("skipped"))
    print(f"  {len(rows) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    if failed:
        return 1
    return SKIPPED if skipped == len(rows) else 0


def interrupt(*_):
    raise KeyboardInterrupt


def main(argv):
    options = parse(argv)
    scenario.LOGS = os.path.abspath(options.logs)
    if options.next:
        os.environ["DRAY_NODE_NEXT"] = os.path.abspath(options.next)
    tests = chosen(options)
    if options.list:
        for test in tests:
            print(f"{scenario.name_of(test):<36} {'small  ' if _small(test) else '       '}"
                  f"{test.shortDescription() or ''}")
        return 0
    if not tests:
        return "lab: no scenario of that name; --list says what there is"
    nodes.PROGRAM = os.path.abspath(options.node)
    if not os.access(nodes.PROGRAM, os.X_OK):
        return f"lab: {options.node} is not there; build it first: make build"
    signal.signal(signal.SIGTERM, interrupt)
    no = reason_not_to()
    if no:
        print(f"SKIPPED lab: {no}", flush=True)
        return SKIPPED
    left = netns.sweep()
    if left:
        print(f"lab: removed {len(left)} namespaces of runs that were killed")
    janitor, rows = netns.janitor(), []
    try:
        for i, test in enumerate(tests):
            rows.append((scenario.name_of(test), *play(test, i + 1, len(tests))))
    except KeyboardInterrupt:
        print("\nlab: interrupted; all hosts and processes of it are gone", file=sys.stderr)
        return 130
    finally:
        netns.remove(netns.mine())
        janitor.stdin.close()
        janitor.wait(10)
    return summary(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
