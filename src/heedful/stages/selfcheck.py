"""A model -> a table that says whether the engine's laws hold for it on this machine."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from rich import box
from rich.table import Table

from heedful.engine import process, terminal
from heedful.engine.batch import Ids
from heedful.engine.padded import is_padded
from heedful.engine.selfcheck import check
from heedful.errors import UserError
from heedful.nn import hub
from heedful.types import Lang

SENTENCES = (
    "Once upon a time there was a small boat that wanted to see the sea.",
    "The old clock in the hall struck twelve, and nobody in the house was asleep.",
    "Water boils at a lower temperature on a high mountain than in a valley.",
    "Tom asked his sister where she had put the key; she said that she had lost it.",
    "春天来了，河边的柳树长出了新叶。",
    "他把信放在桌子上，然后慢慢地走出了房间。",
)

LAWS = 14

ENGLISH = {
    "packed_logits": "packed = alone: logits",
    "packed_loss": "packed = alone: loss",
    "packed_gradient": "packed = alone: gradients",
    "tree_logits": "shared prompt = alone: logits",
    "tree_loss": "shared prompt = alone: loss",
    "tree_gradient": "shared prompt = alone: gradients",
    "accumulated_logits": "accumulated = one batch: logits",
    "accumulated_loss": "accumulated = one batch: loss",
    "accumulated_gradient": "accumulated = one batch: gradients",
    "checkpointing_gradient": "gradient checkpointing = without",
    "sampled_logp": "sampled log-probs = a fresh forward's",
    "crowd": "seeded answer in a crowd = alone",
    "greedy": "greedy = transformers' generate",
    "resumed": "killed and resumed = never killed",
    "law": "law",
    "difference": "largest\ndifference",
    "tolerance": "tolerance",
    "result": "result",
    "passed": "pass",
    "failed": "FAIL",
    "tie": ", {n} tie",
    "ties": ", {n} ties",
    "absent": "not offered",
    "count": "{n} of {of}",
    "packed": "packed rows",
    "padded": "padded rows",
    "sentences": "built-in sentences",
    "random": "random tokens",
    "title": "{architecture}, {parameters:,} parameters, fp32, {attention}, {texts}, threads: {threads}",
    "all": "All {n} laws hold ({seconds:.1f} s).",
    "some": "{failed} of {n} laws do not hold ({seconds:.1f} s): do not trust this model's figures here.",
}

CHINESE = {
    "packed_logits": "打包 = 单独：logits",
    "packed_loss": "打包 = 单独：损失",
    "packed_gradient": "打包 = 单独：梯度",
    "tree_logits": "共享提示 = 单独：logits",
    "tree_loss": "共享提示 = 单独：损失",
    "tree_gradient": "共享提示 = 单独：梯度",
    "accumulated_logits": "累积 = 一整批：logits",
    "accumulated_loss": "累积 = 一整批：损失",
    "accumulated_gradient": "累积 = 一整批：梯度",
    "checkpointing_gradient": "梯度检查点 = 不用检查点",
    "sampled_logp": "采样的对数概率 = 重新前向计算",
    "crowd": "固定种子：同批 = 单独",
    "greedy": "贪心 = transformers 的 generate",
    "resumed": "中断后继续 = 从未中断",
    "law": "定律",
    "difference": "最大\n差异",
    "tolerance": "容差",
    "result": "结果",
    "passed": "通过",
    "failed": "不通过",
    "tie": "，{n} 处舍入平局",
    "ties": "，{n} 处舍入平局",
    "absent": "不支持",
    "count": "{n}/{of}",
    "packed": "打包行",
    "padded": "填充行",
    "sentences": "内置句子",
    "random": "随机词元",
    "title": "{architecture}，{parameters:,} 个参数，fp32，{attention}，{texts}，线程数：{threads}",
    "all": "{n} 条定律全部成立（{seconds:.1f} 秒）。",
    "some": "{n} 条定律中有 {failed} 条不成立（{seconds:.1f} 秒）：请勿相信此模型在这里的数字。",
}

WORDS: Mapping[Lang, Mapping[str, str]] = {"en": ENGLISH, "zh": CHINESE}


class SelfcheckConfig(BaseModel):
    """`model` is a causal language model; `seed` changes the texts and draws, `lang` the table's language."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str
    seed: int = 0
    lang: Lang = "en"


def main(config: SelfcheckConfig) -> dict[str, Any]:
    """Check every law; return the findings and what they were found on."""
    began = time.perf_counter()
    model = hub.load_model(config.model)
    write, texts = writer(config.model, model.config.get_text_config().vocab_size, config.seed)
    rows = []
    with terminal.progress("selfcheck", LAWS) as advance:
        for finding in check(model.eval(), write, config.seed):
            rows.append({**dataclasses.asdict(finding), "passed": finding.passed})
            advance(len(rows), WORDS[config.lang][finding.law])
    return {
        "model": config.model,
        "architecture": model.config.model_type,
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention": "padded" if is_padded(model) else "packed",
        "texts": texts,
        "threads": torch.get_num_threads(),
        "laws": rows,
        "passed": all(row["passed"] for row in rows),
        "peak_memory_bytes": process.peak_memory_bytes(),
        "seconds": round(time.perf_counter() - began, 3),
    }


def writer(source: str, vocabulary: int, seed: int) -> tuple[Callable[[int], Ids], str]:
    """A function that gives n tokens: of sentences where there is a tokenizer, else drawn from the vocabulary."""
    rng = np.random.default_rng(seed)
    try:
        tokenizer = hub.load_tokenizer(source)
    except UserError:
        return lambda n: rng.integers(vocabulary, size=n), "random"
    text = " ".join(np.asarray(SENTENCES)[rng.permutation(len(SENTENCES))])
    ids = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)

    def sentences(n: int) -> Ids:
        start = rng.integers(len(ids))
        return np.resize(np.roll(ids, -start), n)

    return sentences, "sentences"


def title(result: dict[str, Any], lang: Lang = "en") -> str:
    """What was checked, on what."""
    words = WORDS[lang]
    named = {name: words[result[name]] for name in ("attention", "texts")}
    return words["title"].format(**{**result, **named})


def line(result: dict[str, Any], lang: Lang = "en") -> str:
    """The result in one line."""
    failed = sum(not row["passed"] for row in result["laws"])
    sentence = WORDS[lang]["some" if failed else "all"]
    return sentence.format(failed=failed, n=len(result["laws"]), seconds=result["seconds"])


def table(result: dict[str, Any], lang: Lang = "en") -> Table:
    """The result as a table of 80 columns for the terminal."""
    words = WORDS[lang]
    made = Table(box=box.SIMPLE)
    made.add_column(words["law"], no_wrap=True)
    for name in ("difference", "tolerance"):
        made.add_column(words[name], justify="right", no_wrap=True)
    made.add_column(words["result"], no_wrap=True)
    for row in result["laws"]:
        made.add_row(words[row["law"]], *cells(row, words), style="" if row["passed"] else "bold red")
    return made


def cells(row: dict[str, Any], words: Mapping[str, str]) -> tuple[str, str, str]:
    """Difference, tolerance and verdict of one law."""
    verdict = words["passed" if row["passed"] else "failed"]
    if row["ties"]:
        verdict += words["tie" if row["ties"] == 1 else "ties"].format(n=row["ties"])
    if row["difference"] is None:
        return words["absent"], "", ""
    if row["of"]:
        return words["count"].format(n=row["difference"], of=row["of"]), "0", verdict
    return f"{row['difference']:.1e}", f"{row['tolerance']:.0e}" if row["tolerance"] else "0", verdict
