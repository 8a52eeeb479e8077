from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ulmfit.config.model import ClassifierHeadConfig, Dropout, EncoderConfig
from ulmfit.errors import ArtefactError
from ulmfit.interop.fastai import read_fastai
from ulmfit.interop.fastai_names import as_fastai_2, from_fastai_2, to_fastai_2
from ulmfit.models.networks import ClassifierNetwork, LanguageModelNetwork

SHAPE = EncoderConfig(vocab_size=30, embedding_size=4, hidden_size=6, layers=3)
HEAD = ClassifierHeadConfig(hidden_sizes=(5, 7))

Weights = dict[str, Tensor]


def language_model() -> Weights:
    """A language model's weights as fastai 2 has them."""
    torch.manual_seed(0)
    state = LanguageModelNetwork(SHAPE, Dropout()).state_dict()
    weights = {to_fastai_2(name): tensor for name, tensor in state.items()}
    weights["1.decoder.bias"] = torch.randn(30)
    return {**weights, "1.decoder.weight": weights["0.encoder.weight"]}


def classifier() -> Weights:
    torch.manual_seed(0)
    state = ClassifierNetwork(SHAPE, Dropout(), HEAD, outputs=3).state_dict()
    return {
        to_fastai_2(name).replace("0.", "0.module.", 1) if name.startswith("encoder") else
        to_fastai_2(name): tensor
        for name, tensor in state.items()
    }  # fmt: skip


def save(path: Path, weights: object) -> Path:
    torch.save(weights, path)
    return path


@pytest.mark.parametrize("classes", [0, 3])
def test_the_table_of_names_is_reversible(classes: int) -> None:
    if classes:
        state = ClassifierNetwork(SHAPE, Dropout(), HEAD, classes).state_dict()
    else:
        state = LanguageModelNetwork(SHAPE, Dropout()).state_dict()
    theirs = [to_fastai_2(name) for name in state]
    assert [from_fastai_2(name) for name in theirs] == list(state)
    assert len({*theirs}) == len(state) and not {*theirs} & {*state}
    assert [as_fastai_2(name) for name in theirs] == theirs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.weight", "0.encoder.weight"),
        ("rnns.2.module.bias_hh_l0", "0.rnns.2.module.bias_hh_l0"),
        ("0.module.rnns.1.weight_hh_l0_raw", "0.rnns.1.weight_hh_l0_raw"),
        ("0.rnns.12.module.weight_hh_l0_raw", "0.rnns.12.weight_hh_l0_raw"),
        ("0.encoder_with_dropout.embed.weight", "0.encoder_dp.emb.weight"),
        ("1.layers.0.2.weight", "1.layers.0.2.weight"),
        ("1.layers.1.bn.running_var", "1.layers.1.0.running_var"),
        ("1.layers.1.lin.bias", "1.layers.1.2.bias"),
        ("something.else", "something.else"),
        ("0." + "module." * 3000 + "x", "0." + "module." * 2992 + "x"),
    ],
)
def test_names_of_other_layouts(name: str, expected: str) -> None:
    assert as_fastai_2(name) == expected


def test_a_classifier_is_read_with_its_head(tmp_path: Path) -> None:
    weights = classifier()
    model = read_fastai(save(tmp_path / "clf.pth", weights))
    assert (model.encoder, model.classes) == (SHAPE, 3)
    assert model.head is not None and model.head.hidden_sizes == (5, 7)
    network = ClassifierNetwork(model.encoder, Dropout(), model.head, model.classes)
    network.load_state_dict(model.read())
    assert torch.equal(model.read()["head.blocks.2.2.weight"], weights["1.layers.2.2.weight"])


def trained(module: nn.Module) -> nn.Module:
    """Batch norms as if they had seen something."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    return module.eval()


class Block2018(nn.Module):
    """`LinearBlock` of the scripts of 2018."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.lin, self.bn = nn.Linear(inputs, outputs), nn.BatchNorm1d(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.lin(self.bn(inputs))
        return outputs


def flat_head(*, dropout: bool) -> nn.Sequential:
    """The layers of fastai 1's `PoolingLinearClassifier`, which leaves a dropout of 0 out."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((12, 5), (5, 7), (7, 3)):
        dropped = [nn.Dropout(0.1)] if dropout else []
        layers += [nn.BatchNorm1d(inputs), *dropped, nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def head_2018() -> nn.ModuleList:
    return nn.ModuleList([Block2018(12, 5), Block2018(5, 7), Block2018(7, 3)])


@pytest.mark.parametrize(
    "make", [lambda: flat_head(dropout=True), lambda: flat_head(dropout=False), head_2018]
)
def test_heads_of_other_layouts_answer_alike(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(1)
    head = trained(make())
    weights = {n: t for n, t in classifier().items() if not n.startswith("1.")}
    weights |= {f"1.layers.{name}": tensor for name, tensor in head.state_dict().items()}
    model = read_fastai(save(tmp_path / "clf.pth", weights))
    assert model.head is not None and model.head.hidden_sizes == (5, 7)
    network = ClassifierNetwork(model.encoder, Dropout(), model.head, model.classes).eval()
    network.load_state_dict(model.read())
    pooled = expected = torch.randn(9, 12)
    if isinstance(head, nn.ModuleList):
        for block in head:
            outputs = block(expected)
            expected = outputs.relu()
        expected = outputs
    else:
        expected = head(expected)
    torch.testing.assert_close(network(pooled), expected, rtol=0, atol=1e-6)


def test_a_flat_head_without_its_first_batch_norm_is_refused(tmp_path: Path) -> None:
    weights = {n: t for n, t in classifier().items() if not n.startswith("1.")}
    head = flat_head(dropout=True).state_dict()
    weights |= {f"1.layers.{n}": t for n, t in head.items() if not n.startswith("0.")}
    with pytest.raises(ArtefactError, match=r"not expected '1\.layers\.2\.weight'"):
        read_fastai(save(tmp_path / "clf.pth", weights))


def test_the_blocks_of_a_head_are_put_in_order_by_number(tmp_path: Path) -> None:
    head = ClassifierHeadConfig(hidden_sizes=tuple(range(3, 14)))
    state = ClassifierNetwork(SHAPE, Dropout(), head, outputs=2).state_dict()
    path = save(tmp_path / "clf.pth", {to_fastai_2(name): t for name, t in state.items()})
    assert (read_fastai(path).head, read_fastai(path).classes) == (head, 2)


def test_a_variance_below_zero_is_refused(tmp_path: Path) -> None:
    weights = classifier()
    weights["1.layers.0.0.running_var"][1] = -1.0
    with pytest.raises(
        ArtefactError, match=r"'1\.layers\.0\.0\.running_var' holds variances below"
    ):
        read_fastai(save(tmp_path / "clf.pth", weights)).read()


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    weights = {name: tensor.half() for name, tensor in language_model().items()}
    found = read_fastai(save(tmp_path / "lm.pth", weights)).read()
    assert all(tensor.dtype == torch.float32 for tensor in found.values())


def swapped(weights: Weights) -> None:
    for name in list(weights):
        if name.startswith("0.rnns.1"):
            other = name.replace("rnns.1", "rnns.2")
            weights[name], weights[other] = weights[other], weights[name]


def not_a_number(weights: Weights) -> None:
    weights["0.rnns.1.module.bias_ih_l0"][3] = float("nan")


def not_a_number_in_both_copies(weights: Weights) -> None:
    weights["0.encoder.weight"][3, 1] = float("nan")
    weights["1.decoder.weight"] = weights["0.encoder.weight"].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("0.rnns.1.module.bias_ih_l0"),
            "not the weights of one AWD-LSTM: missing '0.rnns.1.module.bias_ih_l0'; get another",
        ),
        (
            lambda w: w.update({"0.rnns.3.extra": torch.ones(2), "2.other": torch.ones(2)}),
            "not expected '0.rnns.3.extra'; not expected '2.other'; get another file",
        ),
        (
            lambda w: w.update({"0.rnns.2.module.bias_hh_l0": torch.ones(15)}),
            "'0.rnns.2.module.bias_hh_l0' is [15], expected [16]; get another file",
        ),
        (swapped, "'0.rnns.1.module.bias_ih_l0' is [16], expected [24]"),
        (
            lambda w: w.update({"1.decoder.weight": torch.ones(30, 4)}),
            "'1.decoder.weight' is not the embedding's matrix; a model whose decoder is not tied",
        ),
        (
            lambda w: w.update({"0.rnns.0.layers.0.linear.weight_raw": torch.ones(2)}),
            "'0.rnns.0.layers.0.linear.weight_raw': a QRNN; only models of LSTMs can be converted",
        ),
        (
            lambda w: w.pop("0.encoder.weight"),
            "no AWD-LSTM of fastai: no embedding, its first weights are '0.rnns.0.module.weight_ih",
        ),
        (
            lambda w: [w.pop(name) for name in list(w) if "rnns" in name],
            "an embedding without LSTMs; give a whole encoder",
        ),
        (
            lambda w: w.update({"0.encoder.weight": torch.ones(30)}),
            "no matrix '0.encoder.weight'; give a whole model",
        ),
        (
            lambda w: w.update({"1.decoder.bias": torch.ones(30, dtype=torch.int64)}),
            "'1.decoder.bias' holds numbers of the type int64; get another file",
        ),
        (
            lambda w: w.update({"0.rnns.0.weight_hh_l0_raw": torch.ones(0, 0)}),
            "30 words, 4 and 0 features: no such model can be; get another file",
        ),
        (not_a_number, "'0.rnns.1.module.bias_ih_l0' holds NaN or infinite weights"),
        (not_a_number_in_both_copies, "'0.encoder.weight' holds NaN or infinite weights"),
        (lambda w: w.update({"0.rnns.0": "text"}), "holds no weights by name; give a file that"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, change: Callable[[Weights], object], message: str
) -> None:
    weights = language_model()
    change(weights)
    with pytest.raises(ArtefactError) as caught:
        read_fastai(save(tmp_path / "lm.pth", weights)).read()
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'lm.pth'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": 3}, {1: torch.ones(2)}])
def test_what_holds_no_weights_is_told(tmp_path: Path, content: object) -> None:
    with pytest.raises(ArtefactError, match=r"holds no weights by name|no AWD-LSTM of fastai"):
        read_fastai(save(tmp_path / "lm.pth", content))
