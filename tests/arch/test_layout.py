import pytest
from hypothesis import given
from hypothesis import strategies as st

from eutectic.arch.base import ChannelMixer
from eutectic.arch.layout import PLACEMENTS, LayerTerm, attention_share, expand, parse, stack
from eutectic.arch.registry import canonical
from eutectic.errors import UserError


def names(text: str, n_layers: int) -> str:
    """The stack by first letters."""
    return "".join(str(layer)[0] for layer in expand(parse(text), n_layers))


def test_a_block_repeats_to_the_depth() -> None:
    assert names("hyena*3+attn", 8) == "hhhahhha"
    assert names("attn+hyena*2+attn", 4) == "ahha"
    assert parse("hyena*3+attn").share("attn") == 0.25


@pytest.mark.parametrize(
    ("placement", "pair", "triple"),
    [
        ("spread", "hhahhhah", "hahshshahsah"),
        ("front", "aahhhhhh", "asasashhhhhh"),
        ("middle", "hhhaahhh", "hhhasasashhh"),
        ("back", "hhhhhhaa", "hhhhhhasasas"),
        ("ends", "ahhhhhha", "asahhhhhhsas"),
    ],
)
def test_placements_by_hand(placement: str, pair: str, triple: str) -> None:
    assert names(f"hyena*3+attn@{placement}", 8) == pair
    expected = triple if placement != "spread" else names("hyena*2+attn+swa@spread", 12)
    assert names(f"hyena*2+attn+swa@{placement}", 12) == expected


def test_spread_leaves_gaps_that_differ_by_one() -> None:
    assert names("hyena*2+attn+swa@spread", 12) == "hahshahshahs"
    assert names("hyena*7+attn@spread", 16) == "hhhhahhhhhhhahhh"


@given(
    counts=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    placement=st.sampled_from(PLACEMENTS),
    n_layers=st.integers(1, 40),
)
def test_a_placed_layout_keeps_its_ratio(counts: list[int], placement: str, n_layers: int) -> None:
    kinds = ("hyena", "attn", "swa")[: len(counts)]
    text = "+".join(f"{kind}*{n}" for kind, n in zip(kinds, counts, strict=True))
    layout = parse(f"{text}@{placement}")
    try:
        layers = expand(layout, n_layers)
    except UserError:
        assert min(counts) * n_layers < sum(counts)
        return
    assert len(layers) == n_layers
    for kind, n in zip(kinds, counts, strict=True):
        assert abs(sum(str(layer) == kind for layer in layers) - n_layers * n / sum(counts)) < 1
    assert attention_share(layers) == sum(str(layer) == "attn" for layer in layers) / n_layers


def test_the_realized_share_is_not_the_wished_one() -> None:
    layers = expand(parse("hyena*3+attn@spread"), 6)
    assert stack(layers) == "hyena*3+attn+hyena*2"
    assert attention_share(layers) == pytest.approx(1 / 6)


def test_side_by_side_layers_count_by_channels() -> None:
    layout = parse("[hyena*3|attn]+hyena")
    assert layout.share("attn") == 0.125
    assert str(layout) == "[hyena*3|attn]+hyena"


@given(
    st.recursive(
        st.sampled_from(["attn", "hyena", "swa(window=8)", "attn(qk_norm=true)"]),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("+".join),
            st.tuples(st.sampled_from(["attn", "hyena*2"]), st.sampled_from(["swa", "hyena*3"])).map(
                lambda pair: f"[{'|'.join(pair)}]"
            ),
        ),
        max_leaves=6,
    )
)
def test_a_layout_is_read_as_it_is_written(text: str) -> None:
    assert parse(str(parse(text))) == parse(text)


def test_equal_models_have_equal_names() -> None:
    assert canonical("swa(window=64)*2+attn(qk_norm=false)") == "swa*2+attn"
    assert canonical("swa(qk_norm=true,window=8)") == canonical("swa(window=8,qk_norm=true)")
    assert canonical("mlp(activation=gelu)", ChannelMixer) == "mlp"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hyna*3+attn", r"unknown mixer 'hyna'; .* did you mean 'hyena'\?"),
        ("swiglu", "unknown mixer 'swiglu'"),
        ("swa(windw=3)", "swa has no option 'windw'; its options, with their defaults, are: window=64, qk_norm=false"),
        ("swa(window=wide)", "option window of swa is a int of a size below 1e.09, not 'wide'"),
        ("swa(window=10000000000)", "option window of swa is a int of a size below"),
        ("mlstm(qk_dim_factor=nan)", "option qk_dim_factor of mlstm is a float of a size below"),
        ("swa(window=8,window=9)", "sets an option twice"),
        ("attn(qk_norm=1)", "option qk_norm of attn is true or false, not '1'"),
    ],
)
def test_unknown_names_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        canonical(text)


def test_a_block_must_divide_the_depth() -> None:
    with pytest.raises(UserError, match="block of 3 layers, which does not divide a depth of 4"):
        expand(parse("hyena*2+attn"), 4)


def test_a_ratio_needs_a_depth_that_holds_it() -> None:
    with pytest.raises(UserError, match="gives a depth of 3 no layer of attn"):
        expand(parse("hyena*7+attn@back"), 3)


@pytest.mark.parametrize("layout", ["", "attn*0", "attn+", "attn**2", "3*attn", "[attn|]", "[attn", "attn(x)", "a|b"])
def test_malformed_terms_are_named(layout: str) -> None:
    with pytest.raises(UserError, match="write NAME"):
        parse(layout)


def test_a_placement_must_be_one() -> None:
    with pytest.raises(UserError, match="has the placement 'top'; there are spread"):
        parse("hyena+attn@top")
    with pytest.raises(UserError, match="places layers of one kind"):
        parse("attn*2@front")
    assert isinstance(parse("hyena+attn@ends").block[0], LayerTerm)
