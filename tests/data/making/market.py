"""Hours of the currency exchange and overviews of poe.ninja, old and new."""

from .world import World

HOUR = 1785999600  # The hour of the digests, which say the one after it.
ITEM = "Metadata/Items/Currency/"


def market(w, league, a, b, trades=True):
    """One market. The two ratios hold what trades cleared at, however they are ordered."""
    unit = w.int(2, 300)
    volume = {a: unit * w.int(50, 900), b: 0}
    volume[b] = volume[a] // unit
    low, high = {a: unit + 1, b: 1}, {a: unit - 1, b: 1}
    if not trades:
        volume, low, high = {a: 0, b: 0}, {a: 0, b: 0}, {a: 0, b: 0}
    return {"league": league, "market_id": f"{a}|{b}", "market_pair": [a, b], "volume_traded": volume, "lowest_stock": {a: w.int(0, 99), b: w.int(0, 99)},
            "highest_stock": {a: w.int(100, 9999), b: w.int(100, 9999)}, "lowest_ratio": low, "highest_ratio": high}


def exchange():
    w = World("exchange")
    chaos, divine = f"{ITEM}CurrencyRerollRare", f"{ITEM}CurrencyModValues"
    # A league by name, one whose name has what a private one's has, and names that the trade site never lists.
    paths = [market(w, "Lanterns", chaos, divine), market(w, "Lanterns", chaos, "Metadata/Items/MapFragments/LanternPack"), market(w, "Lanterns", f"{ITEM}LanternOil", divine),
             market(w, "Lanterns (PL4711)", chaos, divine), market(w, "Standard", chaos, divine), market(w, "Lanterns", f"{ITEM}LanternDust", chaos, trades=False)]
    short = [market(w, "Standard", "chaos", "divine"), market(w, "Standard", "exalted", "chaos"), market(w, "Hardcore", "alch", "chaos", trades=False)]
    poe2 = [market(w, "Embers", "Metadata/Items/SoulCores/Ember1", f"{ITEM}CurrencyAddModToRare"), market(w, "HC Embers", chaos, f"{ITEM}CurrencyAddModToRare")]
    return {
        "cx/digest-allflame-2026-08-excerpt.json": {"next_change_id": HOUR + 3600, "markets": paths},
        "cx/digest-short-ids-2024.json": {"next_change_id": HOUR + 3600, "markets": short},
        "cx/digest-poe2.json": {"next_change_id": HOUR + 3600, "markets": poe2},
        "cx/digest-nothing-traded.json": {"next_change_id": HOUR + 3600, "markets": []},
        "cx/digest-running-hour.json": {"next_change_id": HOUR, "markets": []},
    }


def spark(w, null=False):
    data = [None if null and k < 3 else w.int(-400, 900) / 16 for k in range(7)]
    return {"totalChange": data[-1], "data": data}


def exchange_overview(w, names, primary_items):
    lines, items = [], []
    for name in names:
        key = name.lower().replace(" ", "-").replace("'", "")
        lines.append({"id": key, "primaryValue": w.int(1, 4000) / 8, "volumePrimaryValue": w.int(10, 90000), "maxVolumeCurrency": w.pick(["chaos", "divine"]), "maxVolumeRate": w.int(1, 999) / 32,
                      "sparkline": spark(w, w.chance(0.3))})
        items.append({"id": key, "name": name, "image": "/gen/image/y.png", "category": "Currency", "detailsId": key})
    core = [{"id": "chaos", "name": "Chaos Orb", "image": "/gen/image/c.png", "category": "Currency", "detailsId": "chaos-orb"}] if primary_items else []
    return {"core": {"items": core, "rates": {"divine": 0.005}, "primary": "chaos", "secondary": "divine"}, "lines": lines, "items": items}


def item_line(w, k, **more):
    chaos = w.int(1, 90000) / 4
    return {"id": 100000 + k, "name": f"{w.name(2)} {w.name(1)}", "icon": "https://web.example/i.png", "itemClass": 3, "sparkLine": spark(w, w.chance(0.4)), "chaosValue": chaos,
            "exaltedValue": chaos / 2, "divineValue": chaos / 200, "count": w.int(1, 400), "detailsId": f"thing-{k}", "listingCount": w.int(1, 3000)} | more


def item_overview(w, n, **more):
    return {"lines": [item_line(w, 100 * len(more) + k, **more) for k in range(n)]}


def ninja():
    w = World("ninja")
    modifiers = [{"text": "+(10-20) to Strength", "optional": False}]
    new = {
        "base-type": item_overview(w, 24, levelRequired=86, variant="Shaper/Elder", itemType="Body Armour"),
        "currency": exchange_overview(w, ["Chaos Orb", "Divine Orb", "Orb of Trials", "Lantern Oil"], False),
        "fragment": exchange_overview(w, ["Splinter of Dusk", "The Keeper's Writ"], False),
        "invitation": item_overview(w, 2, flavourText="Come\nin."),
        "skill-gem": item_overview(w, 9, levelRequired=70, variant="21/20c", corrupted=True, gemLevel=21, gemQuality=20),
        "unique-accessory": item_overview(w, 4, baseType="Woven Belt", variant="3 Flasks", levelRequired=44, implicitModifiers=modifiers, explicitModifiers=modifiers, itemType="Belt"),
        "unique-armour": {"lines": [item_line(w, 9000, name="Ferryman's Patience", baseType="Rivetmail Boots", explicitModifiers=modifiers, tradeInfo=[{"mod": "explicit.stat_1", "min": 1}])]},
        "unique-flask": item_overview(w, 3, baseType="Clay Flask", flavourText="Drink.", explicitModifiers=modifiers),
    }
    old_currency = [{"currencyTypeName": n, "pay": {"id": k, "league_id": 5, "pay_currency_id": k, "get_currency_id": 1, "sample_time_utc": "2019-12-18T05:00:00Z", "count": w.int(1, 90), "value": w.int(1, 99) / 64,
                     "data_point_count": 1, "includes_secondary": True} if k % 3 else None, "receive": {"count": w.int(1, 90), "value": w.int(1, 99) / 8, "listing_count": w.int(1, 500)},
                     "paySparkLine": spark(w, True), "receiveSparkLine": spark(w), "chaosEquivalent": w.int(1, 9000) / 16, "lowConfidencePaySparkLine": spark(w), "detailsId": n.lower().replace(" ", "-")}
                    for k, n in enumerate(["Mirror of Trials", "Exalted Orb", "Orb of Fusing", "Orb of Trials", "Vaal Orb"])]
    old_items = [item_line(w, 500 + k, mapTier=0, stackSize=0, links=[0, 5, 6][k % 3], variant=None, baseType="Banded Hood", gemLevel=0, gemQuality=0, itemType="Helmet", corrupted=False,
                           implicitModifiers=[], explicitModifiers=modifiers, flavourText="", prophecyText=None, artFilename=None) for k in range(8)]
    for one in old_items:
        del one["divineValue"], one["listingCount"]
    return {
        "ninja/overview-2026-08-new-shapes.json.gz": new,
        "ninja/exchange-overview-2026.json": exchange_overview(w, ["Divine Orb", "Lantern Oil", "Orb of Trials"], True),
        "ninja/legacy-currency-2019.json": {"lines": old_currency, "currencyDetails": [{"id": 1, "icon": "https://web.example/c.png", "name": "Chaos Orb", "poeTradeId": 4}], "language": {"name": "en", "translations": {}}},
        "ninja/legacy-items-2019.json": {"lines": old_items, "language": {"name": "en", "translations": {}}},
    }


def files():
    return exchange() | ninja()
