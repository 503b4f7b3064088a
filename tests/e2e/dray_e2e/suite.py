"""How a test file becomes a ctest entry: exit 0 passed, 1 failed, 77 skipped as a whole.

What is skipped says so by name, also within a file that runs.
"""

import sys
import unittest

SKIPPED = 77


class _Result(unittest.TextTestResult):
    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.stream.writeln(f"SKIPPED {test.id()}: {reason}")


def main(module="__main__"):
    program = unittest.main(module=module, exit=False, verbosity=2,
                            testRunner=unittest.TextTestRunner(
                                stream=sys.stderr, resultclass=_Result, verbosity=2))
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.skipped and len(result.skipped) >= result.testsRun:
        sys.exit(SKIPPED)
    sys.exit(0)


def skip_entry(reason):
    """Skips the whole file."""
    print(f"SKIPPED {sys.argv[0]}: {reason}", file=sys.stderr)
    sys.exit(SKIPPED)
