import pytest
import torch
from tiny_networks import VOCABULARY, gpt_neo
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lightning_vista.routing.steering import steering, unembedding_ranks

IDS = torch.tensor([[1, 2, 3]])


def logits(model: torch.nn.Module) -> Tensor:
    found: Tensor = model(input_ids=IDS).logits.detach()
    return found


def test_a_constant_is_added_to_one_unit_everywhere_and_only_within() -> None:
    model = gpt_neo().eval()
    before, seen = logits(model), []
    block = model.get_submodule("transformer.h.0")
    handle = block.register_forward_hook(lambda _module, _args, output: seen.append(output))
    logits(model)
    handle.remove()
    with steering(model, "transformer.h.0", amount=3.0, unit=2):
        handle = block.register_forward_hook(lambda _module, _args, output: seen.append(output))
        assert not torch.allclose(logits(model), before)
        handle.remove()
    plain, steered = (value[0] if isinstance(value, tuple) else value for value in seen)
    expected = plain.clone()
    expected[..., 2] += 3
    torch.testing.assert_close(steered, expected)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=0)
    with pytest.raises(AttributeError), steering(model, "transformer.h.9", amount=1.0):
        pass


@pytest.mark.parametrize("sign", [1, -1])
def test_ranks_order_rows_by_their_cosine_to_the_unit(sign: int) -> None:
    rows = torch.randn(VOCABULARY, 6, generator=torch.Generator().manual_seed(0))
    unit = torch.zeros(6)
    unit[4] = sign
    cosines = [float(cosine_similarity(row, unit, dim=0)) for row in rows]
    by_hand = [1 + sum(other > one for other in cosines) for one in cosines]
    assert unembedding_ranks(rows, unit=4, sign=sign).tolist() == by_hand
