"""sock: a connected socket, whose peer has written and is gone."""
import asyncio, selectors, socket, pollring

sock, peer = socket.socketpair()
sock.setblocking(False)
peer.send(b"hello")
peer.close()
