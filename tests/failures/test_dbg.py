import asyncio, psutil, os
from harness import *
from conftest import *
async def test_mem(mesh, redis, logs):
    limits = {"inflight_bytes": 8_000_000, "request_bytes": 2_000_000}
    running = await mesh(redis=redis, nodes=1, router={"limits": limits}, options={"sleep_ms":int(os.environ.get("SL","100")),"batch_jobs":4})
    await running.until(goes_through_redis)
    client=running.client()
    p=psutil.Process(running.router.pid); n=psutil.Process(running.nodes[0].pid)
    for r in range(16):
        sent=await asyncio.gather(*(send(client, size=1_000_000) for _ in range(40)))
        print(r, sum(x.outcome=="answered" for x in sent), p.memory_info().rss//10**6, n.memory_info().rss//10**6, psutil.Process().memory_info().rss//10**6)
