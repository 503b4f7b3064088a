"""How a test file becomes a ctest entry: exit 0 passed, 1 failed, 77 skipped as a whole.

What is skipped says so by name, also within a file that runs. A Case has a Stage for its whole class;
the node of a class is stopped at the end, and must end well.
"""

import os
import signal
import sys
import unittest

from . import node as nodes
from . import registry
from .stage import Stage

SKIPPED = 77


class Case(unittest.TestCase):
    """`prepare` (a class method) sets up what all tests of the class share."""

    longMessage = True
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.stage = Stage()
        cls.addClassCleanup(cls.stage.close)
        cls.nodes = []
        cls.addClassCleanup(cls._stop_nodes)
        cls.prepare()

    @classmethod
    def prepare(cls):
        pass

    @classmethod
    def node(cls, *args, **more):
        """A node that is stopped, cleanly, with the class."""
        node = nodes.Node(cls.stage, *args, **more)
        cls.nodes.append(node)
        return node

    @classmethod
    def _stop_nodes(cls):
        problems = []
        for node in cls.nodes:
            try:
                if node.process and node.process.running():
                    node.stop()
                elif node.process:
                    node.check_log()
            except (AssertionError, OSError, TimeoutError) as e:
                problems.append(str(e))
        if problems:
            raise AssertionError("\n".join(problems))

    def run(self, result=None):
        """A failure shows the end of each node's log."""
        failed = len(result.failures) + len(result.errors) if result else 0
        super().run(result)
        if result and len(result.failures) + len(result.errors) > failed:
            for node in self.nodes:
                if node.process:
                    sys.stderr.write(f"--- {node.url}\n{node.process.tail(25)}\n---\n")
        return result


class _Result(unittest.TextTestResult):
    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.stream.writeln(f"SKIPPED {test.id()}: {reason}")


def main():
    if not os.access(nodes.PROGRAM, os.X_OK):
        print(f"DRAY_NODE={nodes.PROGRAM!r} is no program; build dray-node first", file=sys.stderr)
        sys.exit(1)
    if not registry.PROGRAM:
        skip_entry("docker-registry is not installed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that stages are closed
    program = unittest.main(exit=False, testRunner=unittest.TextTestRunner(
        resultclass=_Result, verbosity=2))
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.skipped and len(result.skipped) >= result.testsRun:
        sys.exit(SKIPPED)
    sys.exit(0)


def skip_entry(reason):
    """Skips the whole file."""
    print(f"SKIPPED {os.path.basename(sys.argv[0])}: {reason}", file=sys.stderr)
    sys.exit(SKIPPED)
