from lightning_vista.mini.contact_sheet import draw_contact_sheet
from lightning_vista.mini.slots import Slot


def test_a_row_is_drawn_for_each_video() -> None:
    slot = Slot("val", "home", "on_v_off", 1, 0)
    one, two = (draw_contact_sheet([(slot, count)]) for count in (1, 2))
    assert one.width == two.width == 900
    assert two.height - one.height > 100
