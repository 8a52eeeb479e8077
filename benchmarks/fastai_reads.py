"""fastai itself reads what we write back: the same logits, and its own learner takes the weights.

fastai knows no pieces of bytes: the model is given words first, by `ulmfit transfer`. fastai is
installed into an environment of its own (`runs/fastai`), and run there.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import ROOT, parser, write_result
from environments import FASTAI, fastai_environment

BOUND = 1e-5
TEXTS = ROOT / "examples" / "data" / "sms-spam" / "unlabelled.csv"
"""Whose words the model is given."""

THEIRS = """
import pickle, sys
from pathlib import Path
import numpy as np, torch
from fastai.text.all import *

folder, embedding, hidden, layers = Path(sys.argv[1]), *map(int, sys.argv[2:5])
words = pickle.load(open(folder / "models" / "vocab.pkl", "rb"))
config = {**awd_lstm_lm_config, "emb_sz": embedding, "n_hid": hidden, "n_layers": layers}
texts = [" ".join(words[9:60])] * 40
frame = pd.DataFrame({"text": texts})
block = TextBlock.from_df("text", is_lm=True, vocab=words, tok=SpacyTokenizer("en"))
dls = DataBlock(blocks=block, get_x=ColReader("text")).dataloaders(
    frame, bs=4, seq_len=10, path=folder)
learner = language_model_learner(
    dls, AWD_LSTM, config=config, pretrained_fnames=["forward", "vocab"])
model = learner.model.eval()
model.reset()
ids = torch.from_numpy(np.load(folder / "ids.npy"))
with torch.no_grad():
    logits = torch.cat([model(piece)[0] for piece in ids.split(20, dim=1)], dim=1)
np.save(folder / "logits.npy", logits.numpy())
"""


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--model", default="wikipedia-en-small", help="a language model")
    parsed = options.parse_args(arguments)
    python = fastai_environment()
    with TemporaryDirectory() as name:
        folder = Path(name)
        shape, ours = our_logits(parsed.model, folder)
        script = folder / "theirs.py"
        script.write_text(THEIRS, encoding="utf-8")
        subprocess.run([python, script, folder, *map(str, shape)], check=True)
        theirs = np.load(folder / "logits.npy")
    difference = float(np.abs(ours - theirs).max())
    result = {
        "fastai": FASTAI,
        "model": parsed.model,
        "shape of the logits": list(theirs.shape),
        "largest logit": float(np.abs(theirs).max()),
        "largest difference": difference,
        "bound": BOUND,
        "within": difference <= BOUND,
    }
    print(json.dumps(result, indent=2))
    write_result("fastai-reads", result)


def our_logits(name: str, folder: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Write the forward model over words, and ids, for fastai; return its shape and our logits."""
    import torch

    from ulmfit import LanguageModel
    from ulmfit.config.conversions import TransferConfig
    from ulmfit.config.text import TokenizerConfig
    from ulmfit.interop.export import export_fastai
    from ulmfit.stages.transfer import transfer

    config = TransferConfig(
        pretrained=name,
        directions="forward",
        texts=(str(TEXTS),),
        tokenizer=TokenizerConfig(kind="word", rules="fastai-2", splitter="spacy"),
        output=str(folder / "words"),
        cache=str(folder / "cache"),
    )
    words = str(transfer(config, quiet=True))
    export_fastai(words, folder / "models")
    model = LanguageModel.from_pretrained(words, direction="forward")
    shape, encoder = model.config, model.network.encoder
    ids = np.random.default_rng(0).integers(0, shape.vocab_size, (4, 50))
    np.save(folder / "ids.npy", ids)
    with torch.no_grad():
        outputs, _ = encoder(encoder.embed(torch.from_numpy(ids)))
        logits = model.network.head.logits(outputs, encoder.embedding.weight).numpy()
    return (shape.embedding_size, shape.hidden_size, shape.layers), logits


if __name__ == "__main__":
    main()
