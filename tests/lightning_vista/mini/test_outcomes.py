from itertools import permutations, product

from lightning_vista.mini.home_task import outcome_shares, right_share


def test_every_episode_has_one_of_four_outcomes() -> None:
    episodes = [order for size in range(4) for order in permutations(range(3), size)]
    shares = outcome_shares(episodes, episodes, level=3)
    assert sum(shares[name] for name in ("success", "wrong_order", "some_steps", "no_step")) == 1
    assert shares["success"] == 1 / len(episodes)
    assert shares["wrong_order"] == 5 / len(episodes)


def test_a_lenient_viewer_sees_the_order_in_what_was_faced() -> None:
    looks = list(product(range(2), repeat=3))  # 0 and then 1 is in four of the eight
    assert outcome_shares([()] * 8, looks, level=2)["in_passing"] == 0.5
    assert outcome_shares([(0, 1)] * 8, looks, level=2)["in_passing"] == 0


def test_the_true_reward_ends_with_the_first_step_out_of_order() -> None:
    assert [right_share(done, 3) for done in ((0, 2), (0, 2, 1), (1, 0, 2), (0, 1, 2))] == [1 / 3, 1 / 3, 0, 1]
