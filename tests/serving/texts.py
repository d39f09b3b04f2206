"""Sentences of our own that are hard on offsets."""

TEXTS = [
    "The dumplings were divine but our waiter vanished. 🥟 Overpriced wine, though!",
    "Lovely patio\r\n\r\nawful coffee ☕️\r\n",
    "",
    "   \n\t ",
    "Crème brûlée, then cre\u0301me de la cre\u0301me 👩🏽‍🍳",
    "Great view, great view, slow service.",
    "料理は美味しい。The staff was kind.",
]
