"""A stash over eleven days, a page for each change of it, and what each page changed."""

from .world import CURRENCIES, World

STEPS = 33


def files():
    w = World("history")
    stash_id, seller, league = w.id(), w.seller(), "Lanterns"
    cursor, items, pages, steps, clock = [880000000 + 7000000 * k for k in range(5)], {}, [], [], 0
    for n in range(STEPS):
        step = {"added": [], "removed": [], "note_changed": [], "stack_changed": []}
        keys = sorted(items)
        if n % 7 != 1:  # Some versions change nothing that is sold.
            gone = [k for k in keys if w.chance(0.12 if n % 9 else 0.5)]
            for key in gone:
                del items[key]
            step["removed"] = gone
            for key in sorted(items):
                if w.chance(0.1):
                    old, new = items[key].get("note"), f"~price {w.int(1, 90)} {w.pick(CURRENCIES)}"
                    if old != new:
                        items[key]["note"] = new
                        step["note_changed"].append([key, old, new])
                elif "stackSize" in items[key] and w.chance(0.2) and items[key]["stackSize"] > 1:
                    old = items[key]["stackSize"]
                    items[key]["stackSize"] = w.int(1, old - 1)
                    step["stack_changed"].append([key, old, items[key]["stackSize"]])
            for _ in range(w.pick([2, 2, 3, 1, 14])):
                key, base = w.id(), f"Token of {w.name(3)}"
                one = {"id": key, "name": "", "typeLine": base, "inventoryId": f"Stash{w.int(1, 20)}", "league": league, "extended": {"category": "currency", "base_type": base}}
                if w.chance(0.8):
                    one["note"] = f"~b/o {w.int(1, 60)} {w.pick(CURRENCIES)}"
                if w.chance(0.4):
                    one["stackSize"] = w.int(2, 40)
                items[key] = one
                step["added"].append(key)
        clock += w.int(300, 40000)
        at = f"2020-11-{19 + clock // 86400:02d}T{clock % 86400 // 3600:02d}:{clock % 3600 // 60:02d}:{clock % 60:02d}.{w.int(1, 999999):06d}Z"
        asked = "-".join(map(str, cursor))
        cursor = [c + w.int(5, 9000) for c in cursor]
        stash = {"id": stash_id, "public": True, "accountName": seller, "lastCharacterName": "Keeper", "stash": "$", "stashType": "PremiumStash", "league": league,
                 "items": [dict(items[k]) for k in sorted(items)]}
        pages.append({"id": asked, "observed_at": at, "response": {"next_change_id": "-".join(map(str, cursor)), "stashes": [stash]}})
        steps.append({"observed_at": at, "change_id": asked, **step})
    return {"psapi/stash-history.pages.jsonl.gz": pages, "psapi/stash-history.expected-diff.json": {"steps": steps}}
