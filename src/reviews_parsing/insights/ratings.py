"""Ratings of reviews: the column and its scale, and a linear model of stars on praise and blame.

The model is ordinary least squares of stars (1 to 5) on the praise and blame of every category. With 20 or more places,
intervals are cluster-robust by place (CR1 with t quantiles of the number of places minus 1; Liang and Zeger, 1986).
With fewer places, each place has its own level (fixed effects) and intervals are robust to unequal variances (HC3;
MacKinnon and White, 1985), because cluster-robust intervals of few clusters are too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from reviews_parsing.errors import DataError
from reviews_parsing.insights.results import Driver, Rating
from reviews_parsing.insights.reviews import ROW_ID, Reviews, literal, normalised, quoted
from reviews_parsing.insights.statistics import SIGNIFICANCE_LEVEL, adjusted

if TYPE_CHECKING:
    import numpy as np

RATING_COLUMNS = (
    *("stars", "rating", "ratings", "score", "star_rating", "review_rating", "review_stars"),
    *("overall_rating", "overall", "rating_value", "reviews_rating", "review_score", "rate", "note"),
)
MAX_MODEL_REVIEWS = 200_000
"""Reviews of the model; more would not narrow intervals visibly. They are chosen by a hash of their position."""
MIN_PREDICTOR_REVIEWS = 15
"""Reviews that must praise (or blame) a category or topic before its effect is estimated."""
POLARITIES = ("negative", "positive")
"""Blame comes first: if every review with a category either praises or blames it, blame is the predictor."""
MIN_CLUSTERS = 20
MAX_PREDICTORS = 60
MIN_NUMERIC_SHARE = 0.9
CHUNK_ROWS = 8192
"""Rows of the model that are numbers of 8 bytes at once; otherwise a predictor has one byte for each row."""

_NUMBER = (
    r"^(?:rated )?(-?\d{1,9}(?:[.,]\d+)?) *"
    r"(?:(?:/|out of|of|sur|von|de|di|van) *(5|10|100)(?:[.,]0)?\b.*|stars?|%|points?)?$"
)
_STARS = "★⭐"


@dataclass(frozen=True, slots=True)
class RatingColumn:
    """A column of ratings: SQL for stars from 1 to 5, and the scale."""

    column: str
    stars: str
    scale: str
    rated: int
    mean: float


def find_rating(reviews: Reviews, name: str | None) -> tuple[RatingColumn | None, tuple[str, ...]]:
    """Return the ratings in the column `name`, by default in the first column with a usual name, and notes.

    Raises DataError if the column does not exist or does not hold ratings.
    """
    column_name = name and reviews.resolve(name)
    if name is not None and column_name is None:
        raise DataError(f"no column '{name}' of ratings; there are {', '.join(reviews.columns)}")
    usual = [column for usual_name in RATING_COLUMNS for column in reviews.columns if normalised(column) == usual_name]
    notes: list[str] = []
    for column in [column_name] if column_name else usual:
        rating, reason = _read_column(reviews, column)
        if rating is not None:
            return rating, tuple(notes) + ((reason,) if reason else ())
        if name is not None:
            raise DataError(f"no ratings in column '{name}': {reason}")
        notes.append(f"Column '{column}' is not used as a rating: {reason}.")
    return None, tuple(notes)


def _read_column(reviews: Reviews, column: str) -> tuple[RatingColumn | None, str]:
    """Return the ratings of a column, or None and the reason; with ratings, the text is a note or empty."""
    value = f"trim({quoted(column)}::VARCHAR)"
    digits = f"regexp_extract(lower({value}), {literal(_NUMBER)}, 1)"
    number = (
        f"CASE WHEN regexp_full_match({value}, '[{_STARS}]+[☆✩]*')"
        f" THEN length(regexp_replace({value}, '[☆✩]', '', 'g'))::DOUBLE"
        f" ELSE try_cast(replace({digits}, ',', '.') AS DOUBLE) END"
    )
    best = f"try_cast(regexp_extract(lower({value}), {literal(_NUMBER)}, 2) AS INTEGER)"
    ((filled, numeric, low, high, fives, words, example, minimum, maximum),) = cast(
        list[tuple[int, int, float | None, float | None, bool | None, int, str | None, int | None, int | None]],
        reviews.rows(
            f"SELECT count(*) FILTER (v <> ''), count(n), min(n), max(n), bool_and(n % 5 = 0),"
            f" count(*) FILTER (v <> '' AND n IS NULL),"
            f" min(v) FILTER (v <> '' AND n IS NULL), min(best), max(best)"
            f" FROM (SELECT {value} AS v, {number} AS n, {best} AS best FROM reviews)"
        ),
    )
    if not filled:
        return None, "it is empty"
    if numeric < MIN_NUMERIC_SHARE * filled or low is None or high is None:
        return None, f"{words:,} of {filled:,} values are not numbers, such as '{str(example)[:40]}'"
    if low == high:
        return None, f"all its values are {low:g}"
    if minimum and maximum and (minimum < maximum or high > maximum):  # 4/5 and 8/10, or 4/5 and 8
        return None, f"its values go up to {high:g}, but some are written as of {minimum}"
    high = max(high, maximum or 0)  # of 4/10 the scale, too
    if low < 0 or high <= 1 or high > 100:
        return None, f"its values from {low:g} to {high:g} are on no scale of 1 to 5, 1 to 10 or 0 to 100"
    if high <= 5:
        scale, stars = "1 to 5" if low >= 1 else "0 to 5", number
    elif low >= 10 and high == 50 and fives and maximum is None:  # "bubbles"
        scale, stars = "10 to 50", f"({number}) / 10"
    elif high <= 10:
        scale, stars = "1 to 10", f"greatest(1, 1 + ({number} - 1) * 4 / 9)"
    else:
        scale, stars = "0 to 100", f"1 + ({number}) / 25"
    ((stars_mean,),) = cast(list[tuple[float]], reviews.rows(f"SELECT avg({stars}) FROM reviews"))
    note = f"{words:,} values of '{column}' are not ratings, such as '{str(example)[:40]}'." if words else ""
    if scale not in ("1 to 5", "0 to 5"):
        note = f"Ratings in '{column}' are read as {scale} and shown as stars from 1 to 5. {note}".strip()
    return RatingColumn(column, stars, scale, numeric, float(stars_mean)), note


class Fit(NamedTuple):
    """Coefficients of a linear model with standard errors, intervals and p-values; NaN for dropped predictors."""

    coefficients: np.ndarray
    errors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def fit_linear(outcome: np.ndarray, predictors: np.ndarray, clusters: np.ndarray | None, fixed: bool) -> Fit:
    """Fit ordinary least squares with an intercept.

    Rows are read in chunks, so that no second array of shape [n, k] is in memory.

    Args:
        outcome: Shape [n].
        predictors: Shape [n, k], zeros and ones. The t quantiles of a predictor have one degree of freedom less than it
            has ones (or zeros), because its variance is estimated from these rows (Satterthwaite).
        clusters: Integer cluster of each row, or None.
        fixed: Whether clusters are levels of their own (fixed effects with HC3 intervals) instead of cluster-robust.
    """
    import numpy as np
    from scipy import stats

    n, k = predictors.shape
    missing = np.full(k, np.nan)
    design = _Design(outcome, predictors, clusters if fixed else None)
    products, totals = design.products()
    independent = _independent(products)
    freedom = n - len(independent) - design.levels
    if freedom < 10 or not independent:
        return Fit(missing, missing, missing, missing, missing)
    inverse = np.linalg.inv(products[np.ix_(independent, independent)])
    beta = inverse @ totals[independent]
    if clusters is not None and not fixed:
        count = int(clusters.max()) + 1
        scores = design.cluster_scores(independent, beta, clusters, count)
        correction = count / (count - 1) * (n - 1) / (n - len(independent))
        covariance, degrees = inverse @ (correction * scores.T @ scores) @ inverse, count - 1
    else:
        covariance, degrees = inverse @ design.robust_products(independent, beta, inverse) @ inverse, freedom
    error = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    first = 0 if design.levels else 1
    positives = np.concatenate([[n], predictors.sum(axis=0, dtype=float)])[1 - first :][independent]
    degrees = np.minimum(degrees, np.maximum(1, np.minimum(positives, np.where(positives == n, n, n - positives)) - 1))
    p = 2 * stats.t.sf(np.abs(beta / error), degrees)
    half = stats.t.ppf(0.975, degrees) * error
    result = [missing.copy() for _ in range(5)]
    for position, column in enumerate(independent):
        if column >= first:
            for array, value in zip(result, (beta, error, beta - half, beta + half, p), strict=True):
                array[column - first] = value[position]
    return Fit(*result)


class _Design:
    """The rows of a linear model in chunks: an intercept with the predictors, or both sides without cluster means.

    Subtracting the means of a cluster is the same as an indicator for it (Frisch, Waugh and Lovell).
    """

    def __init__(self, outcome: np.ndarray, predictors: np.ndarray, levels: np.ndarray | None) -> None:
        import numpy as np

        self.outcome, self.predictors, self.clusters = outcome, predictors, levels
        self.levels = 0 if levels is None else int(levels.max()) + 1
        if levels is not None:
            self.sizes = np.bincount(levels, minlength=self.levels).astype(float)
            self.mean_outcome = np.bincount(levels, outcome, self.levels) / self.sizes
            sums = np.column_stack([np.bincount(levels, column, self.levels) for column in predictors.T])
            self.means = sums / self.sizes[:, None]

    def chunks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield (rows, design, outcome) of each chunk."""
        import numpy as np

        for start in range(0, len(self.outcome), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            x, y = self.predictors[rows].astype(float), self.outcome[rows].astype(float)
            if self.clusters is None:
                yield rows, np.column_stack([np.ones(len(y)), x]), y
            else:
                levels = self.clusters[rows]
                yield rows, x - self.means[levels], y - self.mean_outcome[levels]

    def products(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the products of the design with itself and with the outcome."""
        import numpy as np

        columns = self.predictors.shape[1] + (0 if self.levels else 1)
        products, totals = np.zeros((columns, columns)), np.zeros(columns)
        for _, x, y in self.chunks():
            products += x.T @ x
            totals += x.T @ y
        return products, totals

    def cluster_scores(self, independent: list[int], beta: np.ndarray, clusters: np.ndarray, count: int) -> np.ndarray:
        """Return the sums of the scores of each cluster, of shape [count, columns]."""
        import numpy as np

        scores = np.zeros((count, len(independent)))
        for rows, x, y in self.chunks():
            chosen = x[:, independent]
            weighted = chosen * (y - chosen @ beta)[:, None]
            present, codes = np.unique(clusters[rows], return_inverse=True)
            order = np.argsort(codes, kind="stable")
            starts = np.searchsorted(codes[order], np.arange(len(present)))
            scores[present] += np.add.reduceat(weighted[order], starts)
        return scores

    def robust_products(self, independent: list[int], beta: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Return the products of the design, weighted by squared residuals over their leverage (HC3)."""
        import numpy as np

        result = np.zeros(inverse.shape)
        for rows, x, y in self.chunks():
            chosen = x[:, independent]
            leverage = ((chosen @ inverse) * chosen).sum(axis=1)
            if self.clusters is not None:
                leverage = leverage + (1 / self.sizes)[self.clusters[rows]]
            weights = ((y - chosen @ beta) / np.maximum(1 - leverage, 1e-6)) ** 2
            result += (chosen.T * weights) @ chosen
        return result


def _independent(products: np.ndarray) -> list[int]:
    """Return the columns that are not linear combinations of earlier ones, from their products with each other."""
    import numpy as np

    scale = np.sqrt(np.maximum(np.diag(products), 1e-300))
    gram = products / scale / scale[:, None]
    independent: list[int] = []
    for column in range(gram.shape[0]):
        if scale[column] < 1e-9:
            continue
        if independent:
            inner = gram[np.ix_(independent, independent)]
            residual = gram[column, column] - gram[column, independent] @ np.linalg.solve(
                inner, gram[independent, column]
            )
        else:
            residual = gram[column, column]
        if residual > 1e-8:
            independent.append(column)
    return independent


def find_drivers(
    reviews: Reviews,
    rating: RatingColumn,
    place: str | None,
    categories: Sequence[str],
    topics: Sequence[tuple[str, str]],
) -> Rating:
    """Return the stars that praise and blame of each category and topic bring or cost.

    Reads the views `coded` (with stars and place) and the table `topic_reviews`. `topics` are (id, category).
    """
    import numpy as np

    categories = categories[: MAX_PREDICTORS // 2]
    modulus = max(1, -(-rating.rated // MAX_MODEL_REVIEWS))
    columns = ", ".join(
        f"len(list_filter(aspects, lambda x: x.entity_group = {literal(category)} AND x.polarity = '{polarity}')) > 0"
        f" AS c{n}_{polarity}"
        for n, category in enumerate(categories)
        for polarity in POLARITIES
    )
    reviews.rows(
        f"CREATE TABLE rated AS SELECT {ROW_ID}, stars, place{', ' + columns if columns else ''} FROM coded"
        f" WHERE stars IS NOT NULL AND hash({ROW_ID}) % {modulus} = 0"
    )
    data = reviews.arrays(
        f"SELECT * EXCLUDE place, (dense_rank() OVER (ORDER BY coalesce(place, '')) - 1)::INTEGER AS place FROM rated"
        f" ORDER BY {ROW_ID}"
    )
    stars, clusters = np.asarray(data["stars"], float), np.asarray(data["place"])
    number = int(clusters.max()) + 1 if len(stars) else 0
    place_clusters = clusters if number > 1 else None
    fixed = number < MIN_CLUSTERS
    flags = [np.asarray(data[name], np.uint8) for name in data if name.startswith("c")]
    names = [(category, None, polarity) for category in categories for polarity in POLARITIES]
    drivers = _drivers(stars, flags, names, place_clusters, fixed)
    drivers += _topic_drivers(reviews, data[ROW_ID], stars, flags, names, place_clusters, fixed, topics)
    corrected = adjusted([driver.p for driver in drivers])
    drivers = [replace(driver, adjusted=p) for driver, p in zip(drivers, corrected, strict=True)]
    drivers.sort(key=_rank)
    method = (
        "reviews are independent, intervals HC3"
        if place_clusters is None
        else f"each of {number} places has its own level, intervals HC3"
        if fixed
        else f"intervals cluster-robust over {number} places"
    )
    return Rating(rating.column, rating.scale, rating.rated, rating.mean, len(stars), method, tuple(drivers))


def _rank(driver: Driver) -> tuple[float, bool, float, str, str, str]:
    """Return the sort key: the significant effects first, in order of their impact."""
    impact = abs(driver.impact) if driver.adjusted < SIGNIFICANCE_LEVEL else 0
    return -round(impact, 6), driver.topic is not None, driver.p, driver.category, driver.topic or "", driver.polarity


def _drivers(
    stars: np.ndarray,
    flags: list[np.ndarray],
    names: Sequence[tuple[str, str | None, str]],
    clusters: np.ndarray | None,
    fixed: bool,
) -> list[Driver]:
    import numpy as np

    usable = [n for n, flag in enumerate(flags) if _is_usable(flag)]
    if not usable:
        return []
    fit = fit_linear(stars, np.column_stack([flags[n] for n in usable]), clusters, fixed)
    return [
        _driver(names[n], flags[n], fit, position) for position, n in enumerate(usable) if np.isfinite(fit.p[position])
    ]


def _topic_drivers(
    reviews: Reviews,
    row_ids: np.ndarray,
    stars: np.ndarray,
    flags: list[np.ndarray],
    names: Sequence[tuple[str, str | None, str]],
    clusters: np.ndarray | None,
    fixed: bool,
    topics: Sequence[tuple[str, str]],
) -> list[Driver]:
    """Return a driver for each topic: a model of its praise and blame, and the praise and blame of other categories."""
    import numpy as np

    table = reviews.arrays(
        "SELECT row_id, topic, praise, blame FROM topic_reviews SEMI JOIN rated ON row_id = __row_id"
    )
    rows = np.searchsorted(row_ids, table["row_id"])
    drivers = []
    for number, (topic, category) in enumerate(topics):
        chosen = np.asarray(table["topic"]) == number
        topic_flags = []
        for kind in ("blame", "praise"):
            flag = np.zeros(len(stars), np.uint8)
            flag[rows[chosen & np.asarray(table[kind], bool)]] = 1
            topic_flags.append(flag)
        usable = [n for n in range(2) if _is_usable(topic_flags[n])]
        if not usable:
            continue
        other_flags = [
            flag for flag, name in zip(flags, names, strict=True) if name[0] != category and _is_usable(flag)
        ]
        fit = fit_linear(stars, np.column_stack([*(topic_flags[n] for n in usable), *other_flags]), clusters, fixed)
        for position, n in enumerate(usable):
            if np.isfinite(fit.p[position]):
                drivers.append(_driver((category, topic, POLARITIES[n]), topic_flags[n], fit, position))
    return drivers


def _is_usable(flag: np.ndarray) -> bool:
    return bool(MIN_PREDICTOR_REVIEWS <= flag.sum() <= len(flag) - MIN_PREDICTOR_REVIEWS)


def _driver(name: tuple[str, str | None, str], flag: np.ndarray, fit: Fit, position: int) -> Driver:
    category, topic, polarity = name
    effect, _, low, high, p = (float(array[position]) for array in fit)
    share = float(flag.mean())
    return Driver(category, topic, polarity, int(flag.sum()), share, effect, low, high, p, p, share * effect)
