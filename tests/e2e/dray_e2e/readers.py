"""Clients that read a blob in the background, quickly, slowly, or not to the end."""

import hashlib
import threading
import time


class Reader(threading.Thread):
    """Reads `path` of `node`; `slow` waits so many seconds after each piece of 64 KiB."""

    def __init__(self, node, path, headers=(), slow=0.0, timeout=80):
        super().__init__(daemon=True)
        self.node, self.path, self.headers = node, path, list(headers)
        self.slow, self.limit = slow, timeout
        self.received = 0
        self.longest_wait = 0.0  # for the next bytes, the first ones included
        self.status = self.reply = self.error = self.ended = None
        self.hash = hashlib.sha256()
        self.leave = threading.Event()
        self.hurry = threading.Event()  # a slow one reads on quickly
        self.took = None
        self.start()

    def run(self):
        begun = last = time.monotonic()
        try:
            self.reply = self.node.open(self.path, self.headers, timeout=self.limit)
            self.status = self.reply.status
            while not self.leave.is_set():
                data = self.reply.read(65536)
                self.longest_wait = max(self.longest_wait, time.monotonic() - last)
                if not data:
                    break
                self.received += len(data)
                self.hash.update(data)
                if self.slow:
                    self.hurry.wait(self.slow)
                last = time.monotonic()
            self.ended = self.reply.ended
        except OSError as e:
            self.error = e
        finally:
            self.took = time.monotonic() - begun
            if self.reply:
                self.reply.close()

    @property
    def digest(self):
        return "sha256:" + self.hash.hexdigest()

    def finish(self, timeout=80):
        self.join(timeout)
        if self.is_alive():
            raise TimeoutError(f"{self}: still reading")
        return self

    def __repr__(self):
        return (f"reader of {self.path}: status {self.status}, {self.received} bytes, "
                f"ended {self.ended}, {self.error or 'no error'}")
