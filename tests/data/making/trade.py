"""Lists of the trade site: static ids, items, stats and filters, of 2019, 2020 and 2026."""

from .world import RARES, STACKS, UNIQUES, World

CURRENCY_2019 = [("alt", "Orb of Alteration"), ("fuse", "Orb of Fusing"), ("exa", "Exalted Orb"), ("mir", "Mirror of Kalandra"), ("chrom", "Chromatic Orb"), ("jew", "Jeweller's Orb"), ("chaos", "Chaos Orb")]
CURRENCY_2026 = [("alt", "Orb of Alteration"), ("fusing", "Orb of Fusing"), ("exalted", "Exalted Orb"), ("mirror", "Mirror of Kalandra"), ("chrome", "Chromatic Orb"), ("jewellers", "Jeweller's Orb"),
                 ("chaos", "Chaos Orb"), ("divine", "Divine Orb")]


def static(w, currency, n_groups, separators):
    groups = [{"id": "Currency", "label": "Currency", "entries": [{"id": i, "text": t, "image": f"/gen/image/{i}.png"} for i, t in currency]}]
    for g in range(n_groups):
        label = f"{w.name(3)}s & Things"
        entries = []
        for k in range(w.int(2, 14)):
            text = f"{w.name(2)} {w.pick(['Scarab', 'Fossil', 'Oil', 'Map'])}"
            entries.append({"id": f"{text.lower().replace(' ', '-')}-{g}-{k}", "text": text} | ({} if w.chance(0.3) else {"image": "/gen/image/x.png"}))
        if separators and g % 3 == 0:
            entries.insert(len(entries) // 2, {"id": "sep", "text": ""})
        groups.append({"id": f"Group{g}", "label": label if g % 4 else None, "entries": entries})
    return {"result": groups}


def items(w, n):
    """Uniques have a name and a flag, bases only a type, some a discriminator; all of them a text."""
    out = [{"label": "Accessories", "entries": []}, {"label": "Armour", "entries": []}, {"label": "Prophecies", "entries": []}]
    for k in range(n):
        _, _, base, _, _ = w.pick(RARES)
        name = f"{w.pick(UNIQUES)[0]} {w.name(1)}"
        out[0]["entries"].append({"name": name, "type": base, "text": f"{name} {base}", "flags": {"unique": True}})
        out[1]["entries"].append({"type": base, "text": base} | ({"disc": "otheratlas", "text": f"{base} ({k})"} if k % 5 == 0 else {}))
    out[2]["entries"] += [{"name": name, "type": "Prophecy", "text": name, "flags": {"prophecy": True}} for name, _ in STACKS]
    return {"result": out}


def stats(w, n, grouped, with_type):
    kinds = ["pseudo", "explicit", "implicit", "crafted", "fractured", "enchant"]
    groups = []
    for kind in kinds:
        entries = []
        for k in range(n):
            one = {"id": f"{kind}.stat_{1000000 + 7919 * k + len(kind)}", "text": f"#% increased {w.name(3)} #\nand more"} | ({"type": kind} if with_type else {})
            if k % 6 == 5:
                one["option"] = {"options": [{"id": 1, "text": "One"}, {"id": "two", "text": "Two"}]}
            entries.append(one)
        groups.append({"label": kind.capitalize(), "entries": entries} | ({"id": kind} if not with_type else {}))
    return {"result": groups} if grouped else [e for g in groups for e in g["entries"]]


def filters():
    status = [{"id": i, "text": t} for i, t in (("any", "Any"), ("onlineleague", "Online in the league"), ("online", "Online"), ("securable", "Instant"), ("available", "Available"))]
    return [{"id": "status_filters", "filters": [{"id": "status", "option": {"options": status}}]},
            {"id": "armour_filters", "title": "Armour Filters", "hidden": True, "filters": [{"id": "ar", "text": "Armour", "minMax": True}, {"id": "ev", "text": "Evasion", "tip": "Base only", "minMax": True}]},
            {"id": "misc_filters", "title": "Miscellaneous", "filters": [{"id": "corrupted", "text": "Corrupted", "option": {"options": [{"id": None, "text": "Any"}, {"id": "true", "text": "Yes"}]}},
                                                                         {"id": "stored", "text": "Stored", "fullSpan": True, "input": {"placeholder": "name"}}]}]


def files():
    w = World("trade")
    names = ["Lanterns", "Hardcore Lanterns", "Standard", "Hardcore"]
    return {
        "trade/data-static-2019.json.gz": static(w, CURRENCY_2019, 12, False),
        "trade/data-static-2026-08.json.gz": static(w, CURRENCY_2026, 14, True),
        "trade/data-items-2019-09.json.gz": items(w, 40),
        "trade/data-items-2019-12.json.gz": items(w, 60),
        "trade/data-stats-2019.json.gz": stats(w, 30, True, True),
        "trade/data-stats-2026-08.json.gz": stats(w, 50, False, False),
        "trade/data-filters-2026-08.json.gz": filters(),
        "trade/data-leagues-2020.json": {"result": [{"id": n, "text": n, "privateLeague": False} for n in names]},
        "trade/leagues-poe1-2026-08.json": [{"game": "pathOfExile1", "id": n, "text": n} for n in [*names, "Ruthless Lanterns", "Private (PL77)"]],
    }
