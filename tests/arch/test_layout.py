import pytest

from eutectic.arch.layout import attention_share, expand, parse
from eutectic.errors import UserError


def test_a_block_repeats_to_the_depth() -> None:
    assert parse("hyena*3+attn") == ["hyena", "hyena", "hyena", "attn"]
    assert expand("hyena+attn", 4) == ["hyena", "attn", "hyena", "attn"]
    assert attention_share("hyena*3+attn") == 0.25


def test_unknown_mixers_get_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"unknown mixer 'hyna' .* did you mean 'hyena'\?"):
        parse("hyna*3+attn")


def test_a_block_must_divide_the_depth() -> None:
    with pytest.raises(UserError, match="block of 3 layers, which does not divide a depth of 4"):
        expand("hyena*2+attn", 4)


@pytest.mark.parametrize("layout", ["", "attn*0", "attn+", "attn**2", "3*attn"])
def test_malformed_terms_are_named(layout: str) -> None:
    with pytest.raises(UserError, match="write NAME or NAME"):
        parse(layout)
