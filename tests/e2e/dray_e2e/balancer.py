"""One address before several servers, as a TCP load balancer or a name with several addresses is.

Each connection goes to the next server that takes it. It looks at no byte: when a server dies, its
connections end, and whoever connects again comes to another.
"""

import select
import socket
import threading


class Front:
    """An address before `servers`: "host:port" texts, to be changed at will. A subclass serves."""

    def __init__(self, stage, servers=(), host="127.0.0.1"):
        self.servers = list(servers)
        self._turn = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server((host, 0), backlog=256)
        self.host = f"{host}:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._accept, daemon=True).start()
        stage.defer(self._listener.close)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _order(self):
        """All servers, whose turn it is first."""
        with self._lock:
            self._turn += 1
            servers = list(self.servers)
        at = self._turn % max(1, len(servers))
        return servers[at:] + servers[:at]


def connect(server):
    host, port = server.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=2)


class Balancer(Front):
    def __init__(self, stage, servers=(), host="127.0.0.1"):
        self.taken = {}  # server: connections
        super().__init__(stage, servers, host)

    def _connect(self):
        for server in self._order():
            try:
                there = connect(server)
            except OSError:
                continue
            with self._lock:
                self.taken[server] = self.taken.get(server, 0) + 1
            return there
        return None

    def _serve(self, client):
        there = self._connect()
        with client:
            if there:
                with there:
                    _pass_on(client, there)


def _pass_on(a, b):
    """Until either side has ended: then the other is told by FIN."""
    other = {a: b, b: a}
    for s in other:
        s.setblocking(True)
    try:
        while True:
            ready, _, _ = select.select(list(other), [], [])
            for s in ready:
                data = s.recv(1 << 16)
                if not data:
                    return
                other[s].sendall(data)
    except OSError:
        return
