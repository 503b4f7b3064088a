"""Datagrams that go another way than their address says."""

import socket
import threading


class Relay:
    """Datagrams of one address go to another one, both on loopback; answers go their own way."""

    def __init__(self, stage, port, to):
        self.to = ("127.0.0.1", to)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", port))
        threading.Thread(target=self._run, daemon=True).start()
        stage.defer(self.sock.close)

    def _run(self):
        while True:
            try:
                self.sock.sendto(self.sock.recv(65536), self.to)
            except OSError:
                return
