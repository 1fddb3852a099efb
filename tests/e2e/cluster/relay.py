"""Relays connections from this machine's loopback into a network namespace.

It makes the API server available to kubectl and users outside of the cluster's networks. It runs
inside of the namespace, and gets the number of a listening socket from outside (a socket belongs to
the network in which it was created) and the address to connect to.
"""

import asyncio
import socket
import sys


async def copy(reader, writer):
    """Copies one direction until its end."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(descriptor, host, port):
    """Serves forever."""

    async def serve(reader, writer):
        try:
            inner_reader, inner_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(serve, sock=socket.socket(fileno=int(descriptor)))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
