"""sockets: connected ones, whose peers have written and are gone; a handler of their events."""
import socket, pollring

sockets = []
for _ in range(3):
    here, peer = socket.socketpair()
    peer.send(b"hello")
    peer.close()
    sockets.append(here)

def handler(poll, events):
    assert poll.fileobj.recv(100) == b"hello" and events & pollring.POLLIN
