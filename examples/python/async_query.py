#!/usr/bin/env python3
"""Runs PostgreSQL queries at once, a connection and a task for each, by libpq's asynchronous interface (needs
python3-psycopg2):

    async_query.py CONNINFO QUERY...        async_query.py "host=/var/run/postgresql dbname=postgres" "select 6 * 7"

Between its steps libpq waits for one thing at a time, and not always for the same socket: a one-shot poll, which is
level-triggered, is what it needs.
"""

import asyncio
import sys

import psycopg2
import pollring
from psycopg2 import extensions

WANTED = {extensions.POLL_READ: pollring.POLLIN, extensions.POLL_WRITE: pollring.POLLOUT}


async def settle(connection: extensions.connection) -> None:
    """Until it is connected, or the query has its result."""
    while (state := connection.poll()) != extensions.POLL_OK:
        async for _ in pollring.watch(connection, WANTED[state], multishot=False):
            pass


async def query(conninfo: str, text: str) -> None:
    connection = psycopg2.connect(conninfo, async_=True)
    try:
        await settle(connection)
        cursor = connection.cursor()
        cursor.execute(text)
        await settle(connection)
        for row in cursor.fetchall() if cursor.description else []:
            print(f"{text}: {', '.join(map(str, row))}", flush=True)
    finally:
        connection.close()


async def main(conninfo: str, *texts: str) -> None:
    await asyncio.gather(*(query(conninfo, text) for text in texts))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: async_query.py CONNINFO QUERY...")
    try:
        pollring.run(main(*sys.argv[1:]))
    except psycopg2.Error as error:
        sys.exit(f"async_query.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
