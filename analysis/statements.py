"""The claims that a campaign tests, by key: what is published, by whom, and what small runs cannot say of it."""

from typing import TypedDict

MAD = "Poli et al. 2024, Mechanistic Design and Scaling of Hybrid Architectures, arXiv 2403.17844"
LAUGHING = "Massaroli et al. 2023, Laughing Hyena Distillery, arXiv 2310.18780"
_SCALE = "The published runs have 70M to 7B parameters and read web text; those here are far smaller"


class Statement(TypedDict):
    key: str
    statement: str
    source: str
    limits: str


STATEMENTS: dict[str, Statement] = {
    one["key"]: one
    for one in (
        Statement(
            key="hybrids",
            statement="At every compute budget the best mix of sequence mixers reaches a lower loss than the best "
            "architecture of one mixer alone.",
            source=MAD,
            limits=f"{_SCALE}. The best is that of the layouts trained: another mixer, or another learning rate for "
            "one of them, may do better than all. Most of the single mixers were not tuned but go by a hybrid's "
            "settings, which may favour hybrids.",
        ),
        Statement(
            key="ratio",
            statement="A best share of attention, neither none nor all, can be measured at each budget.",
            source=MAD,
            limits="The share was varied among hyena and attention alone. Of the shares trained the interval spans "
            "all that may be the best; it counts as measured where these span a half or less. A curve through the "
            "shares is no law of theirs: where losses fall steeply from no attention to little and hardly change "
            "after, a parabola is off.",
        ),
        Statement(
            key="ordering",
            statement="How layers are ordered matters less than how many there are of each kind.",
            source=MAD,
            limits="Orders were tried at one share of attention, at one depth, of layers of two kinds, and with the "
            "settings of the even order.",
        ),
        Statement(
            key="heads",
            statement="Gated convolutions with several heads reach a lower loss than with one.",
            source=LAUGHING,
            limits="Equal width, depth and FLOPs: numbers of heads differ in the cost of a token, and so in how many "
            "tokens a budget buys, and by a few filters in parameters. The published comparison is with Hyena, which "
            "has a filter a channel.",
        ),
        Statement(
            key="robust",
            statement="Off the compute-optimal size, hybrids lose less than the architectures that they are mixed of.",
            source=MAD,
            limits="Nothing is said of sizes four times off the best that were not trained: a law has no run to hold "
            "it there. Learning rate and batch are by laws of smaller models: what a model too large loses is in part "
            "what they lose.",
        ),
        Statement(
            key="domain",
            statement="The best share of attention is another for another kind of text.",
            source="Asked here; no published claim",
            limits="That the shares are equal no interval can show, only how far apart they can be; they are told "
            "apart where no share trained may be the best on both texts. Noise on the other text is taken to be that "
            "on the campaign's.",
        ),
    )
}

# what no run of a size that one GPU trains in minutes can say
UNTESTABLE = (
    "That these orders hold at billions of parameters and hundreds of billions of tokens: laws fitted here are "
    "extrapolations there, by more decades than they were held out over.",
    "Contexts of 32k to 128k tokens in training: where the cost of attention outgrows that of all else, and where a "
    "state of fixed size has more to hold, the best share may be another.",
    "Losses on web text, and scores on tasks that are given in words, which ask for models trained on far more.",
    "Whether another learning rate, batch or initialization for each architecture and size would change the order: "
    "laws of a few architectures' settings were applied to all.",
    "Inference at scale: what serving takes is measured of layers and small models, and is none of these claims.",
)
