"""A made-up world: names, ids and numbers that look like an upstream's and are nobody's.

One seed an area, so that a new body does not change the ones made before it.
"""

import hashlib
import random


class World:
    def __init__(self, area):
        self.area = area
        self.random = random.Random(f"souk/{area}")
        self.n = 0

    def id(self, digits=64):
        """An id that has not been given out before."""
        self.n += 1
        return hashlib.sha256(f"{self.area}/{self.n}".encode()).hexdigest()[:digits]

    def chance(self, share):
        return self.random.random() < share

    def int(self, least, most):
        return self.random.randint(least, most)

    def pick(self, choices):
        return choices[self.int(0, len(choices) - 1)]

    def name(self, parts=2):
        """A word of @parts syllables."""
        syllables = ["ba", "dor", "el", "fin", "gar", "hul", "ith", "jor", "kel", "lum", "mar", "nor", "oth", "pel", "quen", "ras"]
        return "".join(self.pick(syllables) for _ in range(parts)).capitalize()

    def seller(self):
        return f"{self.name(2)}{self.pick(['', '_', '-'])}{self.name(1)}{self.int(1, 999)}"


RARES = [("armour", "helmet", "Banded Hood", 2, 2), ("armour", "boots", "Rivetmail Boots", 2, 2), ("armour", "gloves", "Carved Mitts", 2, 2),
         ("weapons", "bow", "Ashwood Bow", 2, 4), ("weapons", "dagger", "Chipped Dirk", 1, 3), ("accessories", "ring", "Beryl Ring", 1, 1),
         ("accessories", "amulet", "Slate Amulet", 1, 1), ("accessories", "belt", "Woven Belt", 2, 1), ("jewels", "", "Umber Jewel", 1, 1)]
UNIQUES = [("Harrow's Vigil", "Banded Hood", "armour", "helmet"), ("Low Tide", "Woven Belt", "accessories", "belt"),
           ("Nine Bells", "Slate Amulet", "accessories", "amulet"), ("The Kind Thief", "Chipped Dirk", "weapons", "dagger")]
STACKS = [("Orb of Trials", 20), ("Shard of Trials", 20), ("Lantern Oil", 10), ("Card of the Ferryman", 5), ("Chaos Orb", 20), ("Divine Orb", 10)]
GEMS = [("Ember Bolt", False), ("Cold Snapper", False), ("Wider Reach Support", True)]
MODS = ["+{} to maximum Life", "+{}% to Fire Resistance", "{}% increased Attack Speed", "Adds {} to 99 Cold Damage", "+{} to Strength",
        "{}% increased Rarity of Items found", "+{} to maximum Mana", "Regenerate {} Life per second"]
CURRENCIES = ["chaos", "chaos", "chaos", "divine", "exalted", "alch", "mirror", "fusing", "jewellers", "chrome"]
OLD_CURRENCIES = ["chaos", "chaos", "exa", "exa", "alch", "mir", "fuse", "jew", "chrom", "vaal"]


def note(world, currencies):
    """A price as sellers write it: mostly whole, some ratios, some decimals, one in thirty left empty by the dialog."""
    kind, currency, shape = world.pick(["~price", "~b/o"]), world.pick(currencies), world.int(0, 29)
    if shape == 0:
        return f"{kind}  {currency}"
    if shape < 4:
        return f"{kind} {world.int(1, 30)}/{world.int(2, 60)} {currency}"
    if shape < 7:
        return f"{kind} {world.int(0, 20)}.{world.int(1, 95)} {currency}"
    return f"{kind} {world.int(1, 400)} {currency}"


def mods(world, n):
    return [world.pick(MODS).format(world.int(3, 98)) for _ in range(n)]


def prop(name, value=None, kind=None, augmented=0, mode=0):
    out = {"name": name, "values": [] if value is None else [[str(value), augmented]], "displayMode": mode}
    if kind is not None:
        out["type"] = kind
    return out
