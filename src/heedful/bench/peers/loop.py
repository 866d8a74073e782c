"""A hand-written decoding loop, as short as a careful person would write it for one model on one afternoon: a bar.

Llama only. Prompts are left-padded into static keys and values; every step runs all rows until the last one has
ended; one matrix makes queries, keys and values, another gate and up; tokens are drawn by inverse CDF.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM

from .job import Clock, Job, read_job

PAD, EOS = 0, 2


class Loop:
    """A Llama's weights, and the keys and values of a batch."""

    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        config = self.model.config
        self.eps = config.rms_norm_eps
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.width = config.hidden_size // self.heads
        self.layers = []
        for layer in self.model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            qkv = torch.cat([getattr(attention, f"{name}_proj").weight for name in "qkv"])
            gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
            norms = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
            self.layers.append((norms, qkv, attention.o_proj.weight, gate_up, mlp.down_proj.weight))
        self.cache: list[tuple[Tensor, Tensor]] = []

    def start(self, rows: int, room: int) -> None:
        """Room for `room` tokens of each row."""
        like = self.model.lm_head.weight
        shape = (rows, self.kv_heads, room, self.width)
        self.cache = [(like.new_zeros(shape), like.new_zeros(shape)) for _ in self.layers]

    def logits(self, ids: Tensor, at: int, position: Tensor, mask: Tensor) -> Tensor:
        """Logits [B, V] after the last of ids [B, T], which stand at `at` of the cache; mask [B, 1, T, seen]."""
        x = self.model.model.embed_tokens(ids)
        cos, sin = (part[:, None] for part in self.model.model.rotary_emb(x, position))
        rows, length = ids.shape
        sizes = [self.heads, self.kv_heads, self.kv_heads]
        for ((before, after), qkv, out, gate_up, down), (keys, values) in zip(
            self.layers, self.cache, strict=True
        ):
            made = F.linear(self.norm(x, before), qkv).view(rows, length, -1, self.width).transpose(1, 2)
            q, k, v = torch.split(made, sizes, 1)
            keys[:, :, at : at + length] = turned(k, cos, sin)
            values[:, :, at : at + length] = v
            seen = at + length
            found = F.scaled_dot_product_attention(
                turned(q, cos, sin),
                keys[:, :, :seen],
                values[:, :, :seen],
                mask,
                enable_gqa=self.heads != self.kv_heads,
            )
            x = x + F.linear(found.transpose(1, 2).reshape(rows, length, -1), out)
            gate, up = F.linear(self.norm(x, after), gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, down)
        logits: Tensor = self.model.lm_head(self.norm(x[:, -1], self.model.model.norm.weight))
        return logits.float()

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.eps)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The rotary embedding."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def generated(loop: Loop, prompts: list[list[int]], job: Job) -> int:
    """Answer the prompts and return how many tokens were written, EOS included, padding not."""
    longest, rows = max(map(len, prompts)), len(prompts)
    loop.start(rows, longest + job.max_completion_length)
    ids = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    padding = torch.tensor([longest - len(p) for p in prompts])
    place = torch.arange(longest + job.max_completion_length)
    real = place[None] >= padding[:, None]
    position = (place[None] - padding[:, None]).clamp_min(0)
    causal = place[:longest, None] >= place[None, :longest]
    # A padded position sees itself, so that no row of the softmax is empty.
    mask = (causal & (real[:, None, :longest] | torch.eye(longest, dtype=torch.bool)))[:, None]
    logits = loop.logits(ids, 0, position[:, :longest], mask)
    ended = torch.zeros(rows, dtype=torch.bool)
    written = 0
    for step in range(job.max_completion_length):
        cdf = logits.softmax(-1).cumsum(-1)
        token = torch.searchsorted(cdf, torch.rand(rows, 1) * cdf[:, -1:]).clamp_max(cdf.shape[-1] - 1)
        written += int((~ended).sum())
        ended |= token[:, 0] == EOS
        if bool(ended.all()):
            break
        at = longest + step
        logits = loop.logits(token, at, position[:, at : at + 1], real[:, None, None, : at + 1])
    return written


def main() -> None:
    job = read_job()
    loop = Loop(job.model, torch.float32 if job.precision == "fp32" else torch.bfloat16)
    torch.manual_seed(job.seed)
    clock = Clock(job)
    prompts = [e["prompt"] for e in job.examples()]
    at, done = 0, False
    with torch.inference_mode():
        while not done:
            chosen = [prompts[(at + i) % len(prompts)] for i in range(job.batch) for _ in range(job.samples)]
            at += job.batch
            done = clock.lap(len(chosen), generated(loop, chosen, job))
    clock.finish()


if __name__ == "__main__":
    main()
