"""Price notes as sellers write them, with the class that each is of."""

from .world import CURRENCIES, OLD_CURRENCIES, World


def cases():
    return {
        "valid": [["~price 12 chaos", "price", "12", "1", "chaos"], ["~b/o 12 chaos", "b/o", "12", "1", "chaos"], ["~b/o 007 divine", "b/o", "007", "1", "divine"], ["~b/o 15/22 chaos", "b/o", "15", "22", "chaos"],
                  ["~price 3/40 divine", "price", "3", "40", "divine"], ["~b/o 02.125 exalted", "b/o", "02.125", "1", "exalted"], ["~price .25 chaos", "price", ".25", "1", "chaos"], ["~price 2.5 exa", "price", "2.5", "1", "exa"],
                  ["~b/o 401/7 chaos", "b/o", "401", "7", "chaos"]],
        "invalid": ["~price  divine", "~b/o  divine", "~b/o 7..2 chaos", "~b/o 7//2 chaos", "~b/o 7/5/2 chaos", "~b/o 5/0 chaos", "~b/o 0/5 chaos", "~b/o <3 chaos", "~b/o 9", "300c", "ask me"],
        "aliases": {"exa": "exalted", "mir": "mirror", "chrom": "chrome", "jew": "jewellers", "fuse": "fusing"},
    }


def observed():
    w, seen = World("notes"), {}
    words = sorted(set(CURRENCIES + OLD_CURRENCIES))
    for _ in range(180):
        seen[f"~{w.pick(['price', 'b/o'])} {w.int(1, 600)} {w.pick(words)}"] = "integer"
    for _ in range(30):
        seen[f"~{w.pick(['price', 'b/o'])} {w.int(1, 40)}/{w.int(2, 90)} {w.pick(words)}"] = "ratio"
    for _ in range(20):
        seen[f"~{w.pick(['price', 'b/o'])} {w.int(0, 30)}.{w.int(1, 9)} {w.pick(words)}"] = "decimal"
    seen |= {"~price  chaos": "tilde-other", "~b/o  exa": "tilde-other", "300c": "free-text", "write to me": "free-text"}
    return {"notes": [{"note": note, "class": kind} for note, kind in sorted(seen.items())]}


def files():
    return {"notes/price-note-cases.json": cases(), "notes/price-notes.json.gz": observed()}
