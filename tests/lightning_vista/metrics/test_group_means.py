import torch

from lightning_vista.metrics.group_means import GroupMeans


def test_batches_give_the_means_of_a_loop_over_images() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 50, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (50,), generator=generator)
    groups = {"low": [0, 1], "high": [2], "all": [0, 1, 2, 3], "none": [7]}
    metric = GroupMeans(["first", "second"], groups)
    for part in torch.arange(50).split(7):
        metric.update(values[:, part], labels[part])
    found = metric.compute()
    for row, figure in enumerate(("first", "second")):
        for group in ("low", "high", "all"):
            chosen = [value for value, label in zip(values[row], labels, strict=True) if int(label) in groups[group]]
            torch.testing.assert_close(found[f"{figure}/{group}"], torch.stack(chosen).mean())
        assert found[f"{figure}/none"].isnan()
