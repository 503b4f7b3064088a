"""A load balancer before several HTTP servers that repeats what can be repeated, as HAProxy
(`retry-on conn-failure empty-response`) and nginx (`proxy_next_upstream error`) do.

A GET or HEAD whose server dies before the head of its answer was read whole goes to the next one;
what has no body to lose is the same the second time. An answer that breaks off later ends short, by
FIN. Anything else (an upload, a login) is passed on once. One request per connection to a server,
and to a client as many as it likes.
"""

from . import balancer

HEAD_MAX = 1 << 16


class Retrying(balancer.Front):
    def __init__(self, stage, servers=(), host="127.0.0.1"):
        self.repeated = 0
        super().__init__(stage, servers, host)

    def _serve(self, client):
        with client:
            rest = b""
            try:
                while True:
                    head, rest = _read_head(client, rest)
                    if not head:
                        return
                    rest = self._pass_on(client, _Head(head), rest)
                    if rest is None:
                        return
            except OSError:
                return

    def _pass_on(self, client, asked, rest):
        """One request and its answer. Returns what came behind the request; None: no more."""
        tries = self._order() * (3 if asked.repeatable else 1)
        for i, server in enumerate(tries):
            try:
                there = balancer.connect(server)
            except OSError:
                continue
            there.settimeout(None)
            with there:
                try:
                    there.sendall(asked.bytes_to_server())
                    rest = _send_body(client, there, asked, rest)
                    head, body = _read_head(there, b"")
                except OSError:
                    head = b""
                if head:
                    return rest if _answer(client, there, _Head(head), body, asked) else None
            if not asked.repeatable:
                break
            with self._lock:
                self.repeated += 1
            if i + 1 == len(tries):
                break
        client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return None


class _Head:
    def __init__(self, data):
        lines = data.decode("latin-1").split("\r\n")
        self.first = lines[0]
        self.fields = [line.partition(":")[::2] for line in lines[1:] if line]

    def field(self, name):
        return next((v.strip() for k, v in self.fields if k.lower() == name), None)

    @property
    def method(self):
        return self.first.split(" ", 1)[0]

    @property
    def status(self):
        return int(self.first.split(" ")[1])

    @property
    def repeatable(self):
        return self.method in ("GET", "HEAD") and not self.field("content-length")

    def bytes_to_server(self):
        kept = [f"{k}:{v}" for k, v in self.fields if k.lower() not in ("connection", "keep-alive")]
        return "\r\n".join([self.first, *kept, "Connection: close", "", ""]).encode("latin-1")

    def length(self):
        """Of the body that follows; None: until the end; "chunked"."""
        if (self.field("transfer-encoding") or "").lower() == "chunked":
            return "chunked"
        value = self.field("content-length")
        return int(value) if value is not None else None


def _read_head(s, data):
    """(head with its blank line cut off, what came after it); (b"", b"") at the end."""
    while b"\r\n\r\n" not in data:
        more = s.recv(1 << 16)
        if not more or len(data) > HEAD_MAX:
            return b"", b""
        data += more
        if not data[:1].isalpha():  # TLS, which clients try first
            return b"", b""
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _send_body(client, there, asked, rest):
    length = asked.length()
    if length == "chunked":
        while True:
            line, rest = _read_line(client, rest)
            size = int(line.split(b";")[0], 16)
            there.sendall(line + b"\r\n")
            chunk, rest = _read_exactly(client, rest, size + 2)
            there.sendall(chunk)
            if size == 0:
                return rest
    left = length or 0
    while left > 0:
        data = rest or client.recv(1 << 16)
        if not data:
            raise OSError("the client left")
        there.sendall(data[:left])
        left, rest = left - len(data[:left]), data[left:]
    return rest


def _read_line(s, data):
    while b"\r\n" not in data:
        more = s.recv(1 << 16)
        if not more:
            raise OSError("cut")
        data += more
    line, _, rest = data.partition(b"\r\n")
    return line, rest


def _read_exactly(s, data, n):
    while len(data) < n:
        more = s.recv(1 << 16)
        if not more:
            raise OSError("cut")
        data += more
    return data[:n], data[n:]


def _answer(client, there, answer, body, asked):
    """Passes an answer on as it comes. False: the client's connection is to end."""
    kept = [f"{k}:{v}" for k, v in answer.fields if k.lower() not in ("connection", "keep-alive")]
    empty = asked.method == "HEAD" or answer.status in (204, 304)
    length = 0 if empty else answer.length()
    keep = (isinstance(length, int) and (asked.field("connection") or "").lower() != "close" and
            asked.repeatable)
    close = [] if keep else ["Connection: close"]
    client.sendall("\r\n".join([answer.first, *kept, *close, "", ""]).encode("latin-1"))
    left = length if isinstance(length, int) else None
    while left is None or left > 0:
        if body:
            client.sendall(body if left is None else body[:left])
            left = None if left is None else left - len(body)
        if left is not None and left <= 0:
            return keep
        try:
            body = there.recv(1 << 16)
        except OSError:
            body = b""
        if not body:
            return False
    return keep
