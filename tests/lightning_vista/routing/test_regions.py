import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_vista.routing import Regions


@given(st.lists(st.integers(0, 2), min_size=3, max_size=40))
def test_scattered_units_belong_to_the_region_that_lists_them(owners: list[int]) -> None:
    specs = {f"r{r}": [u for u, owner in enumerate(owners) if owner == r] for r in set(owners)}
    assert {name: list(units) for name, units in Regions.parse(specs, len(owners)).units.items()} == specs


@given(st.integers(2, 50).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size - 1))))
def test_rest_is_the_complement(case: tuple[int, int]) -> None:
    size, cut = case
    regions = Regions.parse({"rest of them": "rest", "last": f"-{cut}:"}, size)
    assert regions.units == {"rest of them": range(size - cut), "last": range(size - cut, size)}


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"a": "0:5", "b": "4:8"}, r"unit 4 twice, in 'a' and 'b'"),
        ({"a": "0:5", "b": "6:8"}, r"1 units in none, the first of them 5"),
        ({"a": "0:9"}, r"'a' within 8 units, got '0:9' with unit 8"),
        ({"a": "0:8", "b": "rest"}, r"got none in \['b'\]"),
        ({"a": "rest", "b": "rest"}, r"at most one region"),
        ({"a": "first", "b": "rest"}, r"slice such as '0:16'.*got 'first'"),
        ({"a": "0:2:4", "b": "rest"}, r"got '0:2:4'"),
        ({"a": [0, 0], "b": "rest"}, r"unit 0 twice, in 'a'"),
        ({"a": [-9], "b": "rest"}, r"got \[-9\] with unit -1"),
    ],
)
def test_what_is_no_division_of_units_is_refused(specs: dict[str, str | list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Regions.parse(specs, 8)


def test_units_of_several_entries() -> None:
    regions = Regions.parse({"even": [0, 2], "odd": "rest"}, 4)
    assert regions.entries(3) == ([0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11])
    assert Regions.parse({"one": "3", "rest": "rest"}, 4).units == {"one": range(3, 4), "rest": range(3)}
