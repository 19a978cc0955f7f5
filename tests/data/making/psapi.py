"""Pages of the public stash river in the shapes that it has had since 2017."""

from . import history
from .world import CURRENCIES, GEMS, OLD_CURRENCIES, RARES, STACKS, UNIQUES, World, mods, note, prop

# Of each age: what an item, its stash and its tombstone look like.
AGES = {
    2017: {"icon": "http", "old_category": False, "category": False, "rarity": False, "set_prefix": True, "colour": False, "currencies": OLD_CURRENCIES},
    2019: {"icon": "https", "old_category": True, "category": False, "rarity": False, "set_prefix": False, "colour": True, "currencies": OLD_CURRENCIES},
    2024: {"icon": "https", "old_category": False, "category": True, "rarity": True, "set_prefix": False, "colour": True, "currencies": CURRENCIES},
}
RARITY = {0: "Normal", 1: "Magic", 2: "Rare", 3: "Unique", 4: "Gem", 5: "Currency"}
TAB_TYPES = ["NormalStash", "PremiumStash", "PremiumStash", "QuadStash", "CurrencyStash", "MapStash", "FragmentStash", "EssenceStash",
             "DivinationCardStash", "DelveStash", "BlightStash", "MetamorphStash", "DeliriumStash", "UniqueStash"]


def sockets(w, age):
    out, group = [], 0
    for _ in range(w.int(1, 6)):
        attr, colour = w.pick([("S", "R"), ("D", "G"), ("I", "B"), ("G", "W"), ("A", "A")])
        one = {"group": group, "attr": attr}
        if age["colour"]:
            one["sColour"] = colour
        out.append(one)
        group += w.chance(0.4)
    return out


def gem(w, age, name, support):
    level = w.int(1, 21)
    out = {"support": support, "properties": [prop("Fire, Spell" if not support else "Support"), prop("Level", level, 5), prop("Quality", f"+{w.int(1, 23)}%", 6, 1)],
           "additionalProperties": [dict(prop("Experience", f"{w.int(1, 9)}/99999", 20, mode=2), progress=w.int(1, 99) / 128)],
           "requirements": [prop("Level", level * 3, 62), prop("Int", level * 7, 64, mode=1)], "secDescrText": "Made for a test.",
           "explicitMods": mods(w, 2), "descrText": "Goes into a socket."}
    if w.chance(0.3):
        out["corrupted"] = True
        out["hybrid"] = {"isVaalGem": True, "baseTypeName": name, "properties": [prop("Souls Per Use", w.int(15, 50))], "explicitMods": mods(w, 1), "secDescrText": "The other half."}
    if level < 20:
        out["nextLevelRequirements"] = [prop("Level", level * 3 + 3)]
    return out


def item(w, year, league, place):
    """One item of the age @year, as it lies in a public tab."""
    age = AGES[year]
    what, out = w.int(0, 9), {"verified": False}
    name, base, frame, size, category, sub, more = "", "", 0, (1, 1), "currency", "", {}
    if what < 2:
        base, most = w.pick(STACKS)
        frame, more = 5, {"stackSize": w.int(1, most), "maxStackSize": most, "properties": [prop("Stack Size", f"{w.int(1, most)}/{most}", 32)], "explicitMods": ["Does as a test wants"], "descrText": "Use it or keep it."}
        if base.startswith("Card"):
            frame, category, more["artFilename"], more["flavourText"] = 6, "cards", "Ferryman", ["He waits\r", "for the fare."]
    elif what == 2:
        base, support = w.pick(GEMS)
        frame, category, sub, more = 4, "gems", "supportgem" if support else "activegem", gem(w, age, base, support)
    elif what < 5:
        name, base, category, sub = w.pick(UNIQUES)
        frame, size, more = 3, (2, 2), {"explicitMods": mods(w, w.int(2, 6)), "implicitMods": mods(w, 1), "flavourText": ["Half of it\r", "is silence."], "requirements": [prop("Level", w.int(2, 68), 62)]}
        if w.chance(0.1):
            more["isRelic"], frame = True, 9
    else:
        category, sub, base, x, y = w.pick(RARES)
        frame, size = w.pick([0, 1, 2, 2, 2]), (x, y)
        name = f"{w.name()} {w.name(1)}" if frame == 2 else ""
        more = {"explicitMods": mods(w, frame * 2)} if frame else {}
        more["requirements"] = [prop("Level", w.int(2, 84), 62), prop("Str", w.int(20, 200), 63, mode=1)]
        if category in ("armour", "weapons"):
            more["sockets"], more["socketedItems"] = sockets(w, age), []
            more["properties"] = [prop("Quality", f"+{w.int(1, 20)}%", 6, 1), prop("Armour", w.int(50, 900), 16)]
        if frame == 2 and w.chance(0.2):
            more["craftedMods"] = mods(w, 1)
        if frame == 2 and year >= 2019 and w.chance(0.3):
            more[w.pick(["shaper", "elder", "fractured", "synthesised", "veiled", "corrupted", "duplicated"])] = True
            if more.get("fractured"):
                more["fracturedMods"] = mods(w, 1)
            if more.get("veiled"):
                more["veiledMods"] = ["Prefix01"]
            if year == 2024 and more.get("shaper"):
                more["influences"] = {"shaper": True}
        if frame == 0 and w.chance(0.2):
            more["enchantMods"] = mods(w, 1)
    out |= {"w": size[0], "h": size[1], "icon": f"{age['icon']}://web.example/image/{base.replace(' ', '')}.png", "league": league, "id": w.id()}
    prefix = "<<set:MS>><<set:M>><<set:S>>" if age["set_prefix"] else ""
    out |= {"name": prefix + name if name else "", "typeLine": prefix + base if age["set_prefix"] and not name else base}
    if age["rarity"]:
        out |= {"baseType": base, "rarity": RARITY.get(frame, "Normal")}
    out |= {"ilvl": w.int(1, 86) if frame in (0, 1, 2, 3) else 0, "identified": frame != 2 or not w.chance(0.1)}
    if year == 2017:
        out |= {"corrupted": w.chance(0.1), "lockedToCharacter": False}
    if w.chance(0.45):
        out["note"] = note(w, age["currencies"])
    out |= more
    out["frameType"] = frame
    if age["old_category"]:
        out["category"] = {category: [sub] if sub else []}
    if age["category"]:
        out["extended"] = {"category": category} | ({"subcategories": [sub]} if sub else {}) | ({"prefixes": 2, "suffixes": 2} if frame == 2 else {})
    out |= {"x": place % 12, "y": place // 12, "inventoryId": f"Stash{w.int(1, 30)}"}
    return out


def stash(w, year, leagues, n_items):
    league = w.pick(leagues)
    items = [item(w, year, league, i) for i in range(n_items)]
    name = w.pick(["Shop", "$", "Dump 2", "~b/o 1 chaos", "~price 3 alch", "~price 5/3 chaos", "~skip", "Кладовая", "~b/o 2 chaos (Remove-only)", "quad"])
    seller = w.seller()
    if year == 2017:
        return {"accountName": seller, "lastCharacterName": w.name(3), "id": w.id(), "stash": name, "stashType": w.pick(TAB_TYPES[:5]), "items": items, "public": True}
    out = {"id": w.id(), "public": True, "accountName": seller}
    if year == 2019:
        out["lastCharacterName"] = w.name(3)
    return out | {"stash": name, "stashType": w.pick(TAB_TYPES), "league": league, "items": items}


def tombstone(w, year, leagues):
    """A tab that is not public any more; how much is left of it changed with the years."""
    out = {"id": w.id(), "public": False, "accountName": None}
    if year == 2019:
        out["lastCharacterName"] = None
    return out | {"stash": None, "stashType": w.pick(TAB_TYPES), "league": w.pick(leagues) if year == 2019 else None, "items": []}


def page(w, year, leagues, n_stashes, n_tombstones, most):
    out = [stash(w, year, leagues, w.pick([0, 1, 2, w.int(3, most)])) for _ in range(n_stashes)]
    out += [tombstone(w, year, leagues) for _ in range(n_tombstones)]
    w.random.shuffle(out)
    return out


def envelope(cursor, stashes):
    return {"next_change_id": cursor, "stashes": stashes}


def small(w):
    """The first form of tombstones, which kept the names, and cursors of few digits."""
    stashes = [stash(w, 2019, ["Hardcore"], n) for n in (17, 9)]
    for one in stashes:
        del one["league"]
    for i in range(3):
        stashes.append({"accountName": w.seller(), "lastCharacterName": w.name(3), "id": w.id(), "stash": "Going" if i else "", "stashType": "PremiumStash", "items": [], "public": False})
    return envelope("3105-4419-2987-5530-1602", stashes)


def full(w):
    """One item with every field of the schema; items in its sockets, two deep; null and empty where a field may be so."""
    every = {"verified": False, "w": 1, "h": 1, "icon": "https://web.example/image/Full.png", "support": False, "stackSize": 1, "maxStackSize": 1, "league": "Standard",
             "id": w.id(), "influences": {"elder": True}}
    every |= {key: False for key in ("elder", "shaper", "searing", "tangled", "abyssJewel", "delve", "fractured", "synthesised", "lockedToCharacter", "lockedToAccount",
                                     "duplicated", "split", "corrupted", "unmodifiable", "cisRaceReward", "seaRaceReward", "thRaceReward", "isRelic", "foreseeing",
                                     "replica", "ruthless", "veiled", "scourged")}
    lists = {key: mods(w, 2) for key in ("utilityMods", "logbookMods", "enchantMods", "scourgeMods", "implicitMods", "explicitMods", "craftedMods", "fracturedMods",
                                         "crucibleMods", "cosmeticMods", "veiledMods")}
    every |= {"name": "Nine Bells", "typeLine": "Slate Amulet", "baseType": "Slate Amulet", "rarity": "Unique", "identified": True, "itemLevel": 83, "ilvl": 83,
              "note": "~price 7 divine", "forum_note": "write to me", "sockets": sockets(w, AGES[2024]), "properties": [dict(prop("Depth", 3, 9, mode=1), progress=0.25, suffix="m")],
              "requirements": [prop("Level", 60, 62)], "additionalProperties": [prop("Experience", "1/2", 20)], "nextLevelRequirements": [prop("Level", 61, 62)],
              "noteableProperties": [prop("Luck", 1)], "talismanTier": 2, "rewards": [{"label": "Chest", "rewards": {"Coin": 2}}], "secDescrText": "A second text.",
              "descrText": "A text.", "flavourText": ["One.", "Two."], "flavourTextParsed": ["One.", {"id": "x", "class": "y"}], "flavourTextNote": "Aside.", "prophecyText": "It will be.",
              "ultimatumMods": [{"type": "Ruin", "tier": 2}], "incubatedItem": {"name": "Fossil", "level": 70, "progress": 3, "total": 9}, "artFilename": "Bells", "frameType": 3,
              "foilVariation": 4, "hybrid": {"isVaalGem": False, "baseTypeName": "Bell", "properties": [], "explicitMods": [], "secDescrText": ""},
              "extended": {"category": "accessories", "subcategories": ["amulet"], "prefixes": 1, "suffixes": 1}, "x": 0, "y": 11, "inventoryId": "Stash1", "socket": 0, "colour": "G",
              "crucible": {"layout": "https://web.example/tree.png", "nodes": {"0": {"skill": 5, "tier": 1, "icon": "n.png", "allocated": True, "isReward": False, "stats": ["+1"], "orbit": 1, "orbitIndex": 0, "out": ["1"], "in": []}}}}
    inner = dict(every, id=w.id(), socketedItems=[dict(every, id=w.id(), socketedItems=[], note=None)])
    return [{"id": w.id(), "public": True, "accountName": w.seller(), "stash": "Ярмарка", "stashType": "PremiumStash", "league": "Standard", "items": [every | lists | {"socketedItems": [inner]}]}]


def today(w):
    """Items since 3.29: modifiers are objects with flags, frameTypeId stands beside or for frameType, and an empty object may be []."""
    def lines(n):
        out = []
        for k, text in enumerate(mods(w, n)):
            flags = [{"crafted": True}, {"fractured": True}, [], None][k % 4]
            out.append({"description": text} | ({} if flags is None else {"flags": flags}))
        return out

    def odd(one):
        """As a server says that leaves gaps in its lists, has new flags, and knows frames by name only."""
        out = {key: value for key, value in one.items() if key != "frameType"}
        flagged = [{"description": "Turned to Stone", "flags": {"mutated": True}}, {"description": "All that is Left", "flags": {"vestigial": True, "crafted": True}}]
        return out | {"name": "Nine Bells", "rarity": "Unique", "frameTypeId": "Foil", "mutated": True, "extended": [], "explicitMods": {"0": flagged[0], "2": flagged[1]},
                      "sockets": {"1": {"group": 0, "attr": "S", "sColour": "R"}}}

    pages = []
    for k in range(3):
        items = []
        for i in range(5):
            _, _, base, x, y = w.pick(RARES)
            one = {"baseType": base, "rarity": "Rare", "ilvl": w.int(60, 86), "identified": True, "explicitMods": lines(w.int(2, 6)), "extended": {"prefixes": w.int(0, 3), "suffixes": w.int(0, 3)}}
            if i % 2:
                one |= {"fractured": True, "w": x, "h": y, "frameType": 2}
            if i == 2:
                one |= {"implicitMods": lines(1), "frameTypeId": "Rare", "hybrid": [], "influences": []}
            if i == 3:
                one |= {"properties": [prop("Quality (Fire Modifiers)", "+20%", 6, 1)], "crucible": {"nodes": [], "layout": ""}}
                one |= {"extended": [], "enchantMods": {}, "veiled": True, "veiledMods": [f"Prefix0{k + 1}"]}
            if i == 4:
                one = {"baseType": "Orb of Trials", "typeLine": "Orb of Trials", "frameTypeId": "Currency", "stackSize": w.int(1, 20), "identified": True}
            items.append(one)
        items.append(odd(items[1]))
        pages.append({"observedAt": f"2026-10-0{k + 1}T10:00:00.500Z", "cursor": "-".join(str(3000000000 + 1000 * k + j) for j in range(5)), "items": items})
    return {"pages": pages}


def leagues():
    """GET /leagues of 2019: whole hours in UTC, null where a league has no end."""
    def one(name, start, end, rules):
        return {"id": name, "realm": "pc", "description": "A league of a test.", "url": "http://forum.example/1", "startAt": start, "endAt": end, "delveEvent": True,
                "rules": [{"id": rule, "name": rule, "description": f"{rule} it is."} for rule in rules]}

    out = []
    for name, start, end in (("Standard", "2013-01-23T21:00:00Z", None), ("Lanterns", "2019-06-07T20:00:00Z", "2019-09-03T22:00:00Z")):
        for prefix, rules in (("", []), ("Hardcore", ["Hardcore"]), ("SSF", ["NoParties"]), ("SSF HC", ["Hardcore", "NoParties"])):
            out.append(one(f"{prefix} {name}".strip(), start, end, rules))
    return out


def files():
    w = World("psapi")
    old = ["Lanterns", "Hardcore Lanterns", "Standard"]
    made = {
        "psapi/page-2017.json.gz": envelope("90001-90002-90003-90004-90005", page(w, 2017, old, 24, 0, 14)),
        "psapi/page-2019.json.gz": envelope("398200001-413500002-389200003-447600004-423800005", page(w, 2019, [*old, "SSF Lanterns", "Hardcore"], 40, 130, 12)),
        "psapi/page-2019-small.json.gz": small(w),
        "psapi/page-2024.stashes.json.gz": page(w, 2024, ["Standard", "Standard", "Hardcore"], 40, 110, 16),
        "psapi/stashes-2017.json.gz": [{"items": s["items"], "stash": s["stash"]} for s in page(w, 2017, old, 16, 0, 12)],
        "psapi/stashes-full.json.gz": full(w),
        "psapi/stashes-unique.json.gz": page(w, 2024, ["Standard"], 18, 0, 5),
        "psapi/stash-quad.json.gz": dict(stash(w, 2019, ["Standard"], 80), stashType="QuadStash"),
        "psapi/items-2026.json": today(w),
        "psapi/leagues-2019.json": leagues(),
    }
    return made | history.files()
