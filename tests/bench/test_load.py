#!/usr/bin/python3
"""test_load.py - is dray-load as strict as it says? Usage: test_load.py path/to/dray-load

A server on 127.0.0.1 answers rightly or in one wrong way, chosen by the path; every wrong way must be
counted as an error and end in exit code 1, and every right one must be counted exactly.
"""

import json
import socket
import struct
import subprocess
import sys
import threading
import unittest

LOAD = None
BODY = b"x" * 100_000


def head(length, status="200 OK", more=""):
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode()


class Server(threading.Thread):
    """Thread per connection; remembers requests."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests = []
        self.start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        try:
            self.converse(s)
        except OSError:
            pass  # the client left: its right

    def converse(self, s):
        data = b""
        with s:
            while True:
                while b"\r\n\r\n" not in data:
                    part = s.recv(65536)
                    if not part:
                        return
                    data += part
                request, _, data = data.partition(b"\r\n\r\n")
                self.requests.append(request.decode())
                if not self.answer(s, request.split()[1].decode(), request.decode()):
                    return

    def answer(self, s, path, request):
        """True: the connection is kept."""
        if path == "/good":
            s.sendall(head(len(BODY)) + BODY)
        elif path == "/pieces":
            for byte in head(3) + b"abc":
                s.sendall(bytes([byte]))
        elif path == "/empty":
            s.sendall(head(0))
        elif path == "/range":
            first = int(request.split("bytes=")[1].split("-")[0])
            s.sendall(head(len(BODY) - first, "206 Partial Content") + BODY[first:])
        elif path == "/close":
            s.sendall(head(5, more="Connection: close\r\n") + b"hello")
            return False
        elif path == "/silent-close":
            s.sendall(head(5) + b"hello")
            return False
        elif path == "/short":
            s.sendall(head(len(BODY)) + BODY[:-1])
            return False
        elif path == "/reset":
            s.sendall(head(len(BODY)) + BODY[:-1])
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        elif path == "/long":
            s.sendall(head(5) + b"hello and more")
        elif path == "/no-length":
            s.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
            return False
        elif path == "/404":
            s.sendall(head(0, "404 Not Found"))
        elif path == "/noise":
            s.sendall(b"\0\1\2 what\r\n\r\n")
        elif path == "/hangup":
            return False
        elif path == "/stall":
            s.sendall(head(len(BODY)) + BODY[:10])
            s.recv(1)
            return False
        return True


def load(server, path, *options):
    run = subprocess.run([LOAD, *map(str, options), server.url + path], capture_output=True, text=True,
                         timeout=60)
    return run.returncode, json.loads(run.stdout) if run.stdout else None, run.stderr


class LoadTest(unittest.TestCase):
    def setUp(self):
        self.server = Server()

    def tearDown(self):
        self.server.listener.close()

    def test_counts_what_is_right(self):
        for discard in ((), ("--discard",)):
            code, got, err = load(self.server, "/good", "--connections", 7, "--requests", 40, *discard)
            self.assertEqual((code, err), (0, ""))
            self.assertEqual((got["requests"], got["bytes"], got["errors"]), (40, 40 * len(BODY), 0))
        self.assertEqual(len(self.server.requests), 80)

    def test_once_is_once_for_each(self):
        code, got, _ = load(self.server, "/good", "--connections", 48, "--once", "--discard")
        self.assertEqual((code, got["requests"], got["unfinished"]), (0, 48, 0))
        self.assertEqual(len(self.server.requests), 48)
        self.assertGreaterEqual(got["last_done_s"], got["ttfb_median_s"])

    def test_head_in_pieces_and_empty_body(self):
        code, got, _ = load(self.server, "/pieces", "--connections", 1, "--requests", 3)
        self.assertEqual((code, got["requests"], got["bytes"]), (0, 3, 9))
        code, got, _ = load(self.server, "/empty", "--connections", 2, "--requests", 6)
        self.assertEqual((code, got["requests"], got["bytes"]), (0, 6, 0))

    def test_headers_are_sent(self):
        load(self.server, "/good", "--connections", 1, "--once", "--header", "X-One: 1", "--header",
             "X-Two: 2")
        self.assertIn("X-One: 1\r\nX-Two: 2", self.server.requests[0])

    def test_reopens_what_the_server_closed(self):
        for path in ("/close", "/silent-close"):
            code, got, err = load(self.server, path, "--connections", 1, "--requests", 4)
            self.assertEqual((code, got["requests"], err), (0, 4, ""))
            self.assertGreaterEqual(got["reconnects"], 3)

    def test_range_step(self):
        code, got, _ = load(self.server, "/range", "--connections", 4, "--once", "--range-step", 1000)
        self.assertEqual((code, got["bytes"]), (0, 4 * len(BODY) - 6000))

    def test_slow_reader(self):
        code, got, _ = load(self.server, "/good", "--connections", 3, "--seconds", 0.5, "--rate", 20000,
                            "--discard")
        self.assertEqual((code, got["requests"], got["unfinished"]), (0, 0, 3))
        self.assertLess(got["bytes"], 3 * 70_000)  # the share of half a second, and a head's buffer
        self.assertGreater(got["bytes"], 0)

    def test_refuses_what_is_wrong(self):
        wrong = {"/short": "short body", "/reset": "short body", "/long": "beyond Content-Length",
                 "/no-length": "no Content-Length", "/404": "status 404", "/noise": "not an HTTP",
                 "/hangup": "no answer", "/stall": "nothing came"}
        for path, text in wrong.items():
            for discard in ((), ("--discard",)):
                code, got, err = load(self.server, path, "--connections", 2, "--requests", 2,
                                      "--timeout", 0.5, *discard)
                self.assertEqual((code, got["errors"], got["requests"]), (1, 2, 0), path)
                self.assertIn(text, err)

    def test_refuses_a_wrong_command_line(self):
        for options in ((), ("--connections", 1), ("--connections", 0, "--once"),
                        ("--connections", 1, "--once", "--requests", 1),
                        ("--connections", 1, "--once", "--header", "nonsense"),
                        ("--connections", "1x", "--once")):
            self.assertEqual(load(self.server, "/good", *options)[0], 2, options)
        self.assertEqual(subprocess.run([LOAD, "--connections", "1", "--once", "https://h/"],
                                        capture_output=True).returncode, 2)


if __name__ == "__main__":
    LOAD = sys.argv.pop(1)
    unittest.main()
