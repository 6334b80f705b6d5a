"""The floor of a Python unary call: a bare grpc.aio server with uvloop that sends back what it gets.

Prints its address once it serves, and stays until it is ended.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import uvloop


class _Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    def service(self, handler_call_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(_echo)


async def _echo(payload: bytes, _context: Any) -> bytes:
    return payload


async def main() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Everything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
