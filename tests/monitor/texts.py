"""Reviews that the model was not trained for, as many as are asked for."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

THINGS = ("keyboard", "charger", "tent", "router", "backpack", "printer")
FAULTS = ("stopped working", "arrived scratched", "overheats", "makes a clicking noise", "does its job", "came apart")
ENDS = ("I am sending it back.", "The warranty claim was denied.", "Setup took ten minutes.", "Batteries not included.")
DINGE = ("Die Suppe", "Der Kuchen", "Das Schnitzel", "Der Kaffee", "Die Bedienung", "Das Zimmer")
URTEILE = ("war leider kalt", "schmeckte wunderbar", "kam viel zu spät", "hat uns gut gefallen", "war enttäuschend")
SCHLUSS = ("Wir kommen gerne wieder.", "Nie wieder!", "Für den Preis völlig in Ordnung.", "Schade eigentlich.")


def another_domain(count: int) -> list[str]:
    """Of things that are bought in shops."""
    return _some(
        count, [f"The {thing} {fault} after {n} weeks." for thing in THINGS for fault in FAULTS for n in (2, 5)], ENDS
    )


def another_language(count: int) -> list[str]:
    """Of restaurants, in German."""
    return _some(count, [f"{ding} {urteil}." for ding in DINGE for urteil in URTEILE], SCHLUSS)


def _some(count: int, first: Sequence[str], last: Sequence[str]) -> list[str]:
    every = [" ".join(parts) for parts in itertools.product(first, last)]
    return random.Random(5).choices(every, k=count)
