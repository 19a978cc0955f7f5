"""Tabs of an account: the legacy answers, a file of every type of tab, and one tab beside its list.

The tabs of today's API, with folders and children, are small and written by hand: tests/data/account.
"""

from .psapi import item
from .world import World

# The type, what its answer has beside the items, how many items lie in it.
TABS = [("NormalStash", None, 0), ("PremiumStash", None, 14), ("QuadStash", "quadLayout", 40), ("CurrencyStash", "currencyLayout", 12), ("FragmentStash", "fragmentLayout", 9),
        ("EssenceStash", "essenceLayout", 11), ("MapStash", "mapLayout", 0), ("DivinationStash", "divinationLayout", 10), ("DelveStash", "delveLayout", 7),
        ("BlightStash", "blightLayout", 6), ("MetamorphStash", "metamorphLayout", 5), ("DeliriumStash", "deliriumLayout", 6), ("UniqueStash", "uniqueLayout", 8),
        ("FlaskStash", "flaskLayout", 4), ("GemStash", "gemLayout", 9), ("UltimatumStash", None, 3), ("Folder", None, 0), ("NormalStash", None, 22)]


def heading(w, i, kind):
    return {"n": f"{kind} {i}", "i": i, "id": w.id(), "type": kind, "hidden": kind == "Folder", "selected": i == 0,
            "colour": {"r": w.int(0, 255), "g": w.int(0, 255), "b": 0}, "srcL": "https://web.example/l.png", "srcC": "https://web.example/c.png", "srcR": "https://web.example/r.png"}


def lying(w, i, n):
    """@n items in tab @i; each fourth with sockets has gems in them, one of them odd: it has no place."""
    out = []
    for place in range(n):
        one = item(w, 2019, "Lanterns", place)
        one.pop("category", None)
        one["inventoryId"] = f"Stash{i + 1}"
        if "sockets" in one and place % 4 == 0:
            one["socketedItems"] = [{"w": 1, "h": 1, "id": w.id(), "name": "", "typeLine": "Ember Bolt", "identified": True, "ilvl": 0, "frameType": 4, "socket": k, "support": False,
                                     "colour": "R", "properties": []} for k in range(2)]
        if place % 5 == 1:
            one |= {"influences": {"elder": True}, "incubatedItem": {"name": "Fossil", "level": 70, "progress": 3, "total": 9}}
        out.append(one)
    return out


def files():
    w = World("account")
    tabs = [heading(w, i, kind) for i, (kind, _, _) in enumerate(TABS)]
    every = {}
    for i, (_, layout, n) in enumerate(TABS):
        one = {"numTabs": len(TABS)} | ({"tabs": tabs} if i == 0 else {})
        if layout == "quadLayout":
            one[layout] = True
        elif layout:
            one[layout] = {str(k): {"x": 4.5 * k, "y": 8, "w": 1, "h": 1, "scale": 0.5} for k in range(3)}
        every[f"stash_{i}"] = one | {"items": lying(w, i, n)}
    beside = {"Items": {"numTabs": 3, "items": lying(w, 0, 12)}, "Tabs": {"numTabs": 3, "tabs": tabs[:3]}}
    return {"account/stash-items-legacy-all-types.json.gz": every, "account/stash-items-legacy-list.json.gz": beside}
