import torch

from lightning_vista.drawing.pictures import draw_curves, draw_heat_map, tile_pictures


def test_small_images_are_enlarged_and_lie_in_rows() -> None:
    images = torch.linspace(-1, 1, 6).view(2, 3, 1, 1, 1).expand(2, 3, 1, 8, 8)
    picture = tile_pictures(list(images))
    assert (picture.shape, picture.dtype) == ((2 * 34 + 2, 3 * 34 + 2, 3), torch.uint8)
    values = (images[:, :, 0, 0, 0] + 1) / 2 * 255
    for row in range(2):
        for column in range(3):
            tile = picture[34 * row + 2 : 34 * row + 34, 34 * column + 2 : 34 * column + 34]
            assert (tile == values[row, column].round()).all()
    assert (picture[34:36] == 255).all()
    assert (picture[:, 34:36] == 255).all()


def test_colours_beyond_the_range_are_clamped_and_large_images_kept() -> None:
    images = torch.full((1, 3, 40, 50), 3.0)
    images[:, 0] = -2.0
    picture = tile_pictures([images, images])
    assert picture.shape == (86, 54, 3)
    assert picture[5, 5].tolist() == [0, 255, 255]


def test_a_heat_map_has_a_cell_for_each_share() -> None:
    shares = [[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]
    picture = draw_heat_map("a", "b", ["x", "y", "z"], ["x", "y"], shares)
    counts = {
        colour: int((picture == torch.tensor(colour)).all(-1).sum()) for colour in ((23, 78, 134), (245, 245, 245))
    }
    assert counts[(245, 245, 245)] > 2 * counts[(23, 78, 134)] > 3000
    wide = draw_heat_map("a", "b", ["x", "y", "z"], ["x", "a region with a long name"], shares)
    assert wide.shape[1] > picture.shape[1]


def test_cells_of_a_heat_map_may_say_something_else() -> None:
    shares = [[1.0, 0.0]]
    pictures = [draw_heat_map("a", "b", ["x"], ["x", "y"], shares, texts) for texts in (None, [["1.00", "0.00"]])]
    assert torch.equal(*pictures)
    assert not torch.equal(pictures[0], draw_heat_map("a", "b", ["x"], ["x", "y"], shares, [["8.5", "nan"]]))


def test_curves_have_a_panel_each() -> None:
    one, two = (
        draw_curves("a", "scale", [0.0, 1.0], {name: [1.0, float("nan")] for name in names}) for names in ("x", "xy")
    )
    assert (one.shape, two.shape) == ((260, 260, 3), (260, 520, 3))
