"""Rate-limit headers of every kind, and the session of a client that keeps to them."""

from .world import World


def headers(policy, **rules):
    """@rules: the windows of a rule, and their state."""
    out = {"X-Rate-Limit-Policy": policy, "X-Rate-Limit-Rules": ",".join(rules)}
    for rule, (windows, state) in rules.items():
        out[f"X-Rate-Limit-{rule}"], out[f"X-Rate-Limit-{rule}-State"] = windows, state
    return out


def corpus():
    cases = [
        ("one window", 200, headers("ladder-view", client=("10:5:10", "1:5:0"))),
        ("one window, over it", 429, headers("ladder-view", client=("10:5:10", "11:5:10")) | {"Retry-After": "10"}),
        ("the river", 200, {"X-Next-Change-Id": "5-4-3-2-1"} | headers("public-stash-tabs-request-limit-pc", Ip=("2:1:60", "1:1:0"))),
        ("two windows", 200, headers("stash-list-request-limit", Account=("10:15:60,30:60:300", "1:15:0,1:60:0"))),
        ("two windows, full", 200, headers("stash-request-limit", Account=("15:10:60,30:300:300", "15:10:0,30:300:0"))),
        ("a head", 204, headers("character-request-limit", Account=("5:10:60,30:300:300", "0:10:0,0:300:0"))),
        ("two rules", 200, headers("backend-item-request-limit", Account=("30:60:60,100:1800:600", "1:60:0,1:1800:0"), Ip=("45:60:120,180:1800:600", "1:60:0,1:1800:0"))),
        ("restricted, without a time", 429, headers("backend-item-request-limit", Account=("30:60:60,100:1800:600", "1:60:0,104:1800:600"))),
        ("a token", 200, headers("token-request-limit", Ip=("60:30:30", "1:30:0"))),
        ("four windows", 200, headers("trade-search-request-limit", Ip=("5:10:60,15:60:300,30:300:1800,600:21600:3600", "1:10:0,1:60:0,1:300:0,9:21600:0"))),
        ("two rules of other sizes", 200, headers("trade-search-request-limit", Account=("3:5:60", "1:5:0"), Ip=("8:10:60,15:60:120,60:300:1800", "1:10:0,1:60:0,1:300:0"))),
        ("only a policy", 200, {"X-Rate-Limit-Policy": "stash-request-limit"}),
        ("refused by the wall before it", 403, {"Server": "cloudflare", "cf-mitigated": "challenge", "Content-Type": "text/html; charset=UTF-8"}),
        ("nothing said", 200, {"Content-Type": "application/json"}),
        ("nothing said of an hour that runs", 404, {"Content-Type": "application/json"}),
    ]
    return {"cases": [{"name": name, "status": status, "headers": h} for name, status, h in cases]}


class Served:
    """One endpoint: its policy, and when its replies came, from which the client waits for the windows and the server says its state."""

    # What the client adds to each window: the server's clock tells whole steps, five and sixty seconds long.
    PADDING_MS = (6000, 61000)

    def __init__(self, name, policy, windows):
        self.name, self.policy, self.windows, self.done = name, policy, windows, []

    def earliest(self, now):
        for i, (limit, period, _) in enumerate(self.windows):
            if len(self.done) >= limit:
                now = max(now, self.done[-limit] + period * 1000 + self.PADDING_MS[i])
        return now

    def reply(self, w, asked):
        sent = self.earliest(asked) + w.int(0, 60)
        received = sent + w.int(90, 420)
        self.done.append(received)
        state = ",".join(f"{sum(1 for t in self.done if t > received - period * 1000)}:{period}:0" for _, period, _ in self.windows)
        said = headers(self.policy, Account=(",".join(f"{a}:{b}:{c}" for a, b, c in self.windows), state))
        return {"endpoint": self.name, "kind": "reply", "policy": self.policy, "scheduled_ms": asked, "sent_ms": sent, "received_ms": received, "status": 200,
                "headers": {k.lower(): v for k, v in said.items()}}


def session():
    w, out = World("session"), []
    for name, policy, windows, n in (("get-stash", "stash-request-limit", [(15, 10, 60), (30, 300, 300)], 150), ("get-character", "character-request-limit", [(5, 10, 60), (30, 300, 300)], 45)):
        served, now = Served(name, policy, windows), 0
        for _ in range(n):
            out.append(served.reply(w, now))
            now = out[-1]["received_ms"]
    return {"records": sorted(out, key=lambda r: r["sent_ms"])}


def files():
    return {"ratelimit/header-corpus.json": corpus(), "ratelimit/session.json.gz": session()}
