"""Where a process of a test runs: an address to listen at, and how to get there.

Mostly that is loopback. The lab's hosts are places too: network namespaces of their own, which
commands enter by `via` and threads of the test by `inside()`.
"""

import contextlib

from .stage import free_port


class Place:
    """`address`: what servers here listen at; `via`: what stands before a command that runs here."""

    via = ()

    def __init__(self, address="127.0.0.1"):
        self.address = address

    def free_port(self):
        with self.inside():
            return free_port(self.address)

    def at(self, port):
        """host:port, as in a URL."""
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes meanwhile are made here."""
        yield


LOOPBACK = Place()
