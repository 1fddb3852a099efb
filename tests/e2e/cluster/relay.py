"""Brings connections from this machine's loopback into a namespace: a socket belongs to the network it was made in.

For kubectl and for people, who are outside of the cluster's networks. Started inside of the namespace with the number
of a listening socket from outside, and the address to connect to.
"""

import asyncio
import socket
import sys


async def copy(reader, writer):
    """Copies one direction to its end."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(descriptor, host, port):
    """Serves for ever."""

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
