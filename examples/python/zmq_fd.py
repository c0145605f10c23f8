#!/usr/bin/env python3
"""Answers ZeroMQ requests in a task, by the socket's ZMQ_FD (needs python3-zmq):

    zmq_fd.py [ENDPOINT]            tcp://127.0.0.1:* without one; Ctrl-C ends it

ZMQ_FD is edge-triggered, as a multishot poll is. That it is readable means that something has happened in the
socket; ZMQ_EVENTS tells what. To ask for that, to send and to receive takes the edge away. So ask before the first
wait too, and after each event go on until ZMQ_EVENTS has no more.
"""

import sys

import pollring
import zmq


def answer_all(server: "zmq.Socket[bytes]") -> None:
    while int(server.EVENTS) & zmq.POLLIN:  # asked again after each send
        server.send(server.recv(zmq.NOBLOCK).upper())


async def main(endpoint: str = "tcp://127.0.0.1:*") -> None:
    with zmq.Context() as context, context.socket(zmq.REP) as server:
        server.bind(endpoint)
        print("listening on", server.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
        answer_all(server)
        async for _ in pollring.watch(server):  # its fileno() is ZMQ_FD
            answer_all(server)


if __name__ == "__main__":
    try:
        pollring.run(main(*sys.argv[1:]))
    except zmq.ZMQError as error:
        sys.exit(f"zmq_fd.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
