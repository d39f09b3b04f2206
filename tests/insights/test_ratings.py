"""Ratings are recognised on any scale, and the effects of praise and blame on them are estimated."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from insights.making import Row, parquet, review
from reviews_parsing.errors import DataError
from reviews_parsing.insights import analyse, ratings
from reviews_parsing.insights.ratings import fit_linear

RNG = np.random.default_rng(1)
PREDICTORS = (RNG.random((400, 3)) < (0.5, 0.2, 0.1)).astype(float)
CLUSTERS = RNG.integers(0, 25, 400)
STARS = 4 - 1.5 * PREDICTORS[:, 1] + 0.3 * CLUSTERS / 25 + RNG.normal(0, 0.7, 400)


def rated(values: list[object], name: str = "stars") -> list[Row]:
    return [{**review("The [soup](FOOD+) was fine."), name: value} for value in values]


@pytest.mark.parametrize(
    ("values", "scale", "mean"),
    [
        ([1, 5, 3], "1 to 5", 3),
        (["1", "5", "4.5"], "1 to 5", 3.5),
        ([0, 5], "0 to 5", 2.5),
        ([1, 10], "1 to 10", 3),
        ([0, 100], "0 to 100", 3),
        (["4/5", "2 out of 5"], "1 to 5", 3),
        (["4 stars", "2 stars"], "1 to 5", 3),
        (["★★★★☆", "★★☆☆☆"], "1 to 5", 3),
        (["4,5", "2,5"], "1 to 5", 3.5),
        (["⭐⭐⭐⭐", "⭐⭐"], "1 to 5", 3),
        (["Rated 4.0 out of 5 stars", "Rated 2.0 out of 5 stars"], "1 to 5", 3),
        (["4 sur 5", "2 von 5 Sternen"], "1 to 5", 3),
        (["1/10", "5.5/10"], "1 to 10", 2),
        ([10, 50, 45], "10 to 50", 3.5),
        ([10, 50, 90], "0 to 100", 3),
        ([12, 50], "0 to 100", 2.24),
        (["0 out of 100", "5 out of 100"], "0 to 100", 1.1),
    ],
)
def test_scales(tmp_path: Path, values: list[object], scale: str, mean: float) -> None:
    rating = analyse([parquet(tmp_path / "p.parquet", rated(values))]).rating
    assert rating is not None
    assert (rating.column, rating.scale, rating.rated) == ("stars", scale, len(values))
    assert rating.mean == pytest.approx(mean)


@pytest.mark.parametrize("name", ["Stars", "rating", "score", "Review Rating", "reviews.rating", "overall"])
def test_usual_names_are_recognised(tmp_path: Path, name: str) -> None:
    rating = analyse([parquet(tmp_path / "p.parquet", rated([1, 5], name))]).rating
    assert rating is not None
    assert rating.column == name


def test_a_column_can_be_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "p.parquet", rated([1, 5, 3], "Sterne"))
    assert analyse([path]).rating is None
    rating = analyse([path], rating="Sterne").rating
    assert rating is not None
    assert rating.mean == 3
    with pytest.raises(DataError, match="no column 'stars' of ratings"):  # stars_2 is another column
        analyse([parquet(tmp_path / "p.parquet", rated([1, 5, 3], "stars_2"))], rating="stars")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["good", "bad", "4"], "2 of 3 values are not numbers, such as 'bad'"),
        ([3, 3, 3], "all its values are 3"),
        ([1, 5000], "on no scale"),
        ([-1, 1], "on no scale"),
        ([None, None], "it is empty"),
        (["4/5", "8/10"], "its values go up to 8, but some are written as of 5"),
        (["4/5", "8"], "its values go up to 8, but some are written as of 5"),
    ],
)
def test_a_column_without_ratings_is_a_clear_line(tmp_path: Path, values: list[object], reason: str) -> None:
    path = parquet(tmp_path / "p.parquet", rated([None if v is None else str(v) for v in values]))
    insights = analyse([path])
    assert insights.rating is None
    assert any(
        note.startswith("Column 'stars' is not used as a rating: ") and reason in note for note in insights.notes
    )
    with pytest.raises(DataError, match="no ratings in column 'stars'"):
        analyse([path], rating="stars")
    with pytest.raises(DataError, match="no column 'grade' of ratings"):
        analyse([path], rating="grade")


def test_the_planted_cost_is_estimated(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = []
    for n in range(600):
        slow, tasty = chance.random() < 0.2, chance.random() < 0.5
        text = ("The [service](SERVICE-) was slow. " if slow else "") + (
            "The [soup](FOOD+) was fine. " if tasty else ""
        )
        stars = chance.choice((3, 4, 5)) - (1.5 if slow else 0)
        rows.append(review(text + "We came by car.", business=f"place {n % 30}", stars=stars))
    insights = analyse([parquet(tmp_path / "p.parquet", rows)])
    assert insights.rating is not None
    first = next(driver for driver in insights.rating.drivers if driver.topic is None)
    assert (first.category, first.polarity) == ("SERVICE", "negative")
    assert first.low < -1.5 < first.high
    assert first.effect == pytest.approx(-1.5, abs=0.25)
    assert first.impact == pytest.approx(first.share * first.effect)
    assert first.adjusted < 0.001
    assert "cluster-robust over 30 places" in insights.rating.method
    assert insights.findings[0].kind == "rating"
    assert insights.findings[0].n == first.reviews


@pytest.mark.parametrize("chunk", [64, 8192])
def test_the_model_equals_another_implementation(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(ratings, "CHUNK_ROWS", chunk)
    design = sm.add_constant(PREDICTORS)
    robust = sm.OLS(STARS, design).fit(cov_type="HC3")
    fit = fit_linear(STARS, PREDICTORS, None, fixed=False)
    assert fit.coefficients == pytest.approx(robust.params[1:])
    assert fit.errors == pytest.approx(robust.bse[1:])
    clustered = sm.OLS(STARS, design).fit(cov_type="cluster", cov_kwds={"groups": CLUSTERS})
    fit = fit_linear(STARS, PREDICTORS, CLUSTERS, fixed=False)
    assert fit.errors == pytest.approx(clustered.bse[1:])
    levels = np.eye(25)[CLUSTERS]
    fixed = sm.OLS(STARS, np.column_stack([PREDICTORS, levels])).fit(cov_type="HC3")
    fit = fit_linear(STARS, PREDICTORS, CLUSTERS, fixed=True)
    assert fit.coefficients == pytest.approx(fixed.params[:3])
    assert fit.errors == pytest.approx(fixed.bse[:3])


@pytest.mark.parametrize("fixed", [False, True])
def test_the_model_needs_memory_for_a_chunk_of_rows(fixed: bool) -> None:
    chance = np.random.default_rng(2)
    predictors = (chance.random((100_000, 30)) < 0.3).astype(np.uint8)
    clusters, stars = chance.integers(0, 12, 100_000), chance.normal(0, 1, 100_000)
    tracemalloc.start()
    fit_linear(stars, predictors, clusters, fixed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000 * 30 * 8 / 2


def test_predictors_that_depend_on_others_are_left_out() -> None:
    fit = fit_linear(STARS, np.column_stack([PREDICTORS, PREDICTORS[:, 0]]), None, fixed=False)
    assert np.isfinite(fit.p[:3]).all()
    assert np.isnan(fit.p[3])


def test_reviews_whose_stars_and_text_disagree_are_listed(tmp_path: Path) -> None:
    rows = [
        review("The [soup](FOOD-) was awful.", id="a", stars=5, business="Quay"),
        review("The [soup](FOOD+) was lovely.", id="b", stars=1),
        review("The [soup](FOOD+) was lovely, the [tea](BEVERAGE-) cold.", id="c", stars=1),
        review("The [soup](FOOD+) was lovely.", id="d", stars=5),
    ]
    insights = analyse([parquet(tmp_path / "p.parquet", rows)])
    assert [(d.name, d.side, d.stars, d.place) for d in insights.disagreements] == [
        ("a", "blame", 5, "Quay"),
        ("b", "praise", 1, None),
    ]
    assert insights.disagreement_counts == (1, 1)
    assert [insights.disagreements[0].text[s.start : s.end] for s in insights.disagreements[0].spans] == ["soup"]
