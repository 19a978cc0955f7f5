"""Case 54: the network loses, delays, is narrow, resets, and is cut in two, between souk and upstream and between souk
and ClickHouse, by a proxy on loopback (tests/lib/netproxy.py)."""

import contextlib
import json
import time

import pytest
import score
from bench import FAST, bench_of
from netproxy import NetProxy
from stacks import free_ports, until

RECOVERY_S = 15


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with contextlib.ExitStack() as held:
        running = held.enter_context(bench_of(tmp_path_factory.mktemp("network"), start=False))
        up, store = free_ports(2)
        running.up = held.enter_context(NetProxy(up, running.sim))
        running.store = held.enter_context(NetProxy(store, running.proxy_port))
        url = f"http://127.0.0.1:{up}"
        running.configure({"clickhouse": {"port": store},
                           "sources": {"psapi": {"base_url": url, "seed_url": url}, "poe_ninja": {"base_url": url}}})
        running.start_all(*FAST)
        running.wait_for_rows(1000)
        yield running


# What hurts, for how long per commit and in full, and what shows that it did.
NETWORKS = {
    "30 % loss": ({"loss": 0.3}, 10, 60, "n_lost"),
    "500 ms +- 200": ({"delay_s": 0.5, "jitter_s": 0.2}, 10, 60, "n_delayed"),
    "8 kbit/s": ({"bytes_per_s": 1000}, 20, 120, None),
    "resets": ({"resets_per_s": 0.5}, 10, 60, "n_reset"),
    "a partition": ({"partition": True}, 45, 300, "n_held"),  # Longer than a request's deadline.
}


@pytest.mark.case(54)
@pytest.mark.parametrize("where", ["up", "store"])
@pytest.mark.parametrize("what", NETWORKS)
def test_a_bad_network_costs_time_and_nothing_else(bench, where, what):
    faults, short_s, long_s, shown = NETWORKS[what]
    net = getattr(bench, where)
    bench.freeze(False)
    bench.fresh(60)
    with score.case(54, f"{what} {'to the upstream' if where == 'up' else 'to ClickHouse'}") as s:
        before = getattr(net, shown) if shown else 0
        net.hurt(**faults)
        try:
            time.sleep(score.times(short_s, long_s))
        finally:
            net.heal()
        s.recovered(bench.fresh(60))
        assert not shown or getattr(net, shown) > before, "the network was bad"
        s.detail = json.dumps({"seconds": score.times(short_s, long_s)})
        bench.audited(s, replaced=True)
        assert s.recovery_s <= RECOVERY_S
