"""An HTTP/1.1 client that sends exactly what it is told and tells exactly what came back.

The usual libraries merge repeated headers, hide how a body ended, and follow redirects. Here a Reply
is read as it arrives, and `ended` tells how: "full" (Content-Length reached, or the last chunk),
"fin" (closed early in order), "rst" (reset), "timeout".
"""

import base64
import json
import socket
import ssl
import struct
import time
from urllib.parse import urlsplit


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def reset(sock):
    """Leaves with RST, as a killed client does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Reply:
    """An answer whose body may still be on its way."""

    def __init__(self, sock, method, started):
        self._sock = sock
        self._buffer = b""
        self.started = started
        self.first_byte_at = None
        self.received = 0
        self.ended = None
        self.status, self.reason, self.headers = self._read_head()
        self.first_byte_at = time.monotonic()
        self._chunked = "chunked" in (self.header("transfer-encoding") or "").lower()
        length = self.header("content-length")
        self.length = None if length is None else int(length)
        bodiless = method == "HEAD" or self.status in (204, 304) or self.status < 200
        self._left = 0 if bodiless else self.length
        self._chunk_left = 0
        if self._left == 0 and (bodiless or not self._chunked):
            self.ended = "full"

    def header(self, name):
        """The first header of that name, or None."""
        values = self.all(name)
        return values[0] if values else None

    def all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def _fill(self):
        try:
            data = self._sock.recv(262144)
        except (ConnectionResetError, BrokenPipeError):
            self.ended = "rst"
            return False
        except (TimeoutError, socket.timeout):
            self.ended = "timeout"
            return False
        except ssl.SSLEOFError:
            self.ended = "fin-without-close-notify"
            return False
        if not data:
            self.ended = "fin"
            return False
        self._buffer += data
        return True

    def _read_head(self):
        while b"\r\n\r\n" not in self._buffer:
            if not self._fill():
                raise ConnectionError(f"no answer ({self.ended}): {self._buffer[:200]!r}")
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ", 2)
        headers = [(n.strip(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:])]
        return int(parts[1]), parts[2] if len(parts) > 2 else "", headers

    def _line(self):
        while b"\r\n" not in self._buffer:
            if not self._fill():
                return None
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _next_chunk(self):
        line = self._line()
        if line is None:
            return
        self._chunk_left = int(line.split(b";")[0], 16)
        if self._chunk_left == 0:
            while self._line():
                pass
            self.ended = "full"

    def read(self, limit=262144):
        """Some bytes of the body; b"" when it has ended (see `ended`)."""
        if self._chunked and not self.ended and self._chunk_left == 0:
            self._next_chunk()
        if self.ended == "full" or (self.ended and not self._buffer):
            return b""
        if not self._buffer and not self._fill():
            if self.ended == "fin" and self.length is None and not self._chunked:
                self.ended = "full"
            return b""
        most = min(limit, len(self._buffer))
        if self._chunked:
            most = min(most, self._chunk_left)
        elif self._left is not None:
            most = min(most, self._left)
        data, self._buffer = self._buffer[:most], self._buffer[most:]
        self._took(most)
        return data

    def _took(self, count):
        self.received += count
        if self._chunked:
            self._chunk_left -= count
            if self._chunk_left == 0:
                self._line()
        elif self._left is not None:
            self._left -= count
            if self._left == 0:
                self.ended = "full"

    def read_exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.read(count - len(data))
            if not more:
                break
            data += more
        return data

    def read_all(self):
        parts = []
        while True:
            data = self.read()
            if not data:
                return b"".join(parts)
            parts.append(data)

    def close(self):
        try:
            self._sock.close()
        except OSError:
            pass

    def reset(self):
        reset(self._sock)


class Answer:
    """A whole answer."""

    def __init__(self, reply, body, elapsed):
        self.status, self.headers, self.ended = reply.status, reply.headers, reply.ended
        self.length, self.body, self.elapsed = reply.length, body, elapsed
        self._reply = reply

    def header(self, name):
        return self._reply.header(name)

    def all(self, name):
        return self._reply.all(name)

    def json(self):
        return json.loads(self.body)

    def codes(self):
        """The codes of an OCI error body."""
        return [e["code"] for e in self.json()["errors"]]


def connect(url, ca=None, timeout=30.0, server_name=None):
    """A connected socket, TLS for https (verified against `ca`)."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    sock = socket.create_connection((parts.hostname, port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        sock = context.wrap_socket(sock, server_hostname=server_name or parts.hostname)
    return sock


def connect_unix(path, timeout=30.0):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    sock.connect(path)
    return sock


def send(sock, method, target, headers=(), body=b"", host="localhost"):
    """Sends one request on an open connection; the Reply's head has been read."""
    names = {n.lower() for n, _ in headers}
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {host}")
    lines += [f"{n}: {v}" for n, v in headers]
    if body and "content-length" not in names and "transfer-encoding" not in names:
        lines.append(f"Content-Length: {len(body)}")
    started = time.monotonic()
    try:
        sock.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # answered before all was sent, and no more is taken: the answer is here to be read
    return Reply(sock, method, started)


def open_reply(url, method="GET", headers=(), body=b"", ca=None, timeout=30.0):
    """One request on a connection of its own; the body is still to be read."""
    parts = urlsplit(url)
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    sock = connect(url, ca, timeout)
    try:
        return send(sock, method, target, list(headers) + [("Connection", "close")], body, parts.netloc)
    except BaseException:
        sock.close()
        raise


def fetch(url, method="GET", headers=(), body=b"", ca=None, timeout=30.0):
    """One request, its whole answer."""
    reply = open_reply(url, method, headers, body, ca, timeout)
    try:
        data = reply.read_all()
        return Answer(reply, data, time.monotonic() - reply.started)
    finally:
        reply.close()


def raw(url, data, timeout=15.0, ca=None):
    """Sends bytes as they are; all bytes that come back and how the connection ended."""
    sock = connect(url, ca, timeout)
    got, ended = b"", "fin"
    try:
        sock.sendall(data)
        while True:
            more = sock.recv(65536)
            if not more:
                break
            got += more
    except (ConnectionResetError, BrokenPipeError):
        ended = "rst"
    except (TimeoutError, socket.timeout):
        ended = "timeout"
    finally:
        sock.close()
    return got, ended
